// All pages work without this: links lead to pages of their own, and forms are sent as forms.
"use strict";

// A link with data-load brings what it leads to into this page: rows in place of the fold that it is in, a table row below its own.
async function load(link) {
  const place = link.closest(link.dataset.load);
  const address = new URL(link.href);
  address.searchParams.set("part", "1");
  link.setAttribute("aria-busy", "true");
  let html;
  try {
    const answer = await fetch(address);
    if (!answer.ok) throw new Error(answer.status);
    html = await answer.text();
  } catch {
    location.assign(link.href); // its page says what is wrong
    return;
  }
  const holder = document.createElement("template");
  holder.innerHTML = html;
  const first = holder.content.firstElementChild;
  if (place.tagName === "TR") {
    place.after(holder.content);
    link.remove();
  } else {
    place.replaceWith(holder.content);
  }
  if (first) {
    first.tabIndex = -1;
    first.focus({ preventScroll: true });
  }
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-load]");
  if (link && !event.button && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey) {
    event.preventDefault();
    if (!link.hasAttribute("aria-busy")) load(link);
  }
});

// A button with data-copy copies the text of another element; where that lacks the address of this page, with it.
async function copy(button) {
  const from = document.getElementById(button.dataset.copy);
  let text = from.textContent;
  const link = new URL(button.dataset.link, location.href).href;
  if (!text.includes(link)) text += `- Verdict: ${link}\n`;
  try {
    await navigator.clipboard.writeText(text); // not there on a page that came unencrypted
    button.textContent = "Copied";
  } catch {
    from.closest("details").open = true;
    getSelection().selectAllChildren(from);
    from.focus();
    button.textContent = document.execCommand("copy") ? "Copied" : "Press Ctrl+C";
  }
}

for (const button of document.querySelectorAll("button[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", () => copy(button));
}
