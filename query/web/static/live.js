// Keeps the part of a page that is marked data-live fresh: the same page is fetched again, and only what has changed in
// it is put in place, so that focus, scrolling, selections and open details stay as they are. What is marked data-keep is not touched.
(() => {
  'use strict';
  const live = document.querySelector('[data-live]');
  const button = document.getElementById('pause');
  const state = document.getElementById('live-state');
  if (!live || !button || !state) return;
  const period = Number(live.dataset.live) * 1000;
  const patience = 15000;
  let paused = false, timer = 0, fetched = Date.now();

  // sync makes a node like another. Children with an id are the same wherever they stand; others are by their place.
  function sync(node, like) {
    if (node.nodeType !== like.nodeType || node.nodeName !== like.nodeName || (node.id || '') !== (like.id || '')) {
      node.replaceWith(like);
      return;
    }
    if (node.dataset && 'keep' in node.dataset) return;
    if (node.nodeType !== Node.ELEMENT_NODE) {
      if (node.data !== like.data) node.data = like.data;
      return;
    }
    for (const {name} of [...node.attributes]) {
      if (!like.hasAttribute(name) && !(node.nodeName === 'DETAILS' && name === 'open')) node.removeAttribute(name);
    }
    for (const {name, value} of like.attributes) {
      if (node.getAttribute(name) !== value) node.setAttribute(name, value);
    }
    let at = node.firstChild;
    for (const child of [...like.childNodes]) {
      const same = child.id && [...node.children].find((c) => c.id === child.id);
      if (same && same !== at) {
        node.insertBefore(same, at);
      } else if (!same && (!at || (at.id && at.id !== child.id))) {
        node.insertBefore(child, at);
        continue;
      }
      const next = (same || at).nextSibling;
      sync(same || at, child);
      at = next;
    }
    while (at) {
      const next = at.nextSibling;
      at.remove();
      at = next;
    }
  }

  function say(text) {
    if (state.textContent !== text) state.textContent = text;
  }

  async function refresh() {
    clearTimeout(timer);
    if (paused || document.hidden) return;
    try {
      const answer = await fetch(location.href, {signal: AbortSignal.timeout(patience)});
      if (!answer.ok) throw new Error(answer.status);
      const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
      if (paused) return;
      sync(live, page.querySelector('[data-live]'));
      document.title = page.title;
      fetched = Date.now();
      say('Live: refreshed every ' + period / 1000 + ' s');
    } catch {
      say('Not refreshed since ' + new Date(fetched).toISOString().slice(11, 19) + ' UTC: the server does not answer');
    }
    timer = setTimeout(refresh, period);
  }

  button.addEventListener('click', () => {
    paused = !paused;
    button.textContent = paused ? 'Go on' : 'Pause';
    if (paused) {
      clearTimeout(timer);
      say('Paused at ' + new Date(fetched).toISOString().slice(11, 19) + ' UTC');
    } else {
      refresh();
    }
  });
  document.addEventListener('visibilitychange', refresh);
  button.hidden = false;
  say('Live: refreshed every ' + period / 1000 + ' s');
  timer = setTimeout(refresh, period);
})();
