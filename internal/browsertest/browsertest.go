// Package browsertest opens pages in a headless Chromium, and notes what a page may not do.
package browsertest

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// Browser is a headless Chromium with one tab.
type Browser struct {
	t   testing.TB
	ctx context.Context //nolint:containedctx // it is the tab
	axe string

	mu     sync.Mutex
	wrongs []string
}

// timeout bounds all that a test does in its browser.
const timeout = 8 * time.Minute

// New starts a browser. When the test ends it fails for all that pages wrote to the console, violated or fetched
// from elsewhere.
func New(t testing.TB) *Browser {
	t.Helper()
	profile, err := os.MkdirTemp("", "whosehop-chromium-") //nolint:usetesting // the browser may still write when the test ends
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(profile) })
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(chromium(t)), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(profile),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true), chromedp.WSURLReadTimeout(time.Minute))
	ctx, cancelAllocator := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancelAllocator)
	ctx, cancel := chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	whole := ctx
	t.Cleanup(func() { _ = chromedp.Cancel(whole) }) // waits until the browser has ended
	ctx, cancelTimeout := context.WithTimeout(ctx, timeout)
	t.Cleanup(cancelTimeout)
	b := &Browser{t: t, ctx: ctx}
	chromedp.ListenTarget(ctx, b.note)
	t.Cleanup(func() {
		for _, w := range b.Wrongs() {
			t.Error(w)
		}
	})
	b.Do(log.Enable(), network.Enable(), runtime.Enable())
	return b
}

// chromium finds the browser; without one the test fails, it is never skipped.
func chromium(t testing.TB) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("there is no Chromium; make test installs it")
	return ""
}

func (b *Browser) note(event any) {
	wrong := ""
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		wrong = fmt.Sprintf("console %s", e.Type)
	case *runtime.EventExceptionThrown:
		wrong = fmt.Sprintf("exception %s", e.ExceptionDetails.Text)
	case *log.EventEntryAdded:
		wrong = fmt.Sprintf("log %s: %s %s", e.Entry.Level, e.Entry.Text, e.Entry.URL) // among them what a content security policy forbids
	case *network.EventRequestWillBeSent:
		if u, err := url.Parse(e.Request.URL); err != nil || (u.Scheme != "data" && u.Hostname() != "127.0.0.1") {
			wrong = "a request leaves the host: " + e.Request.URL
		}
	}
	if wrong != "" {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.wrongs = append(b.wrongs, wrong)
	}
}

// Wrongs takes what was wrong since it was last asked.
func (b *Browser) Wrongs() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := b.wrongs
	b.wrongs = nil
	return all
}

// Do acts in the tab.
func (b *Browser) Do(actions ...chromedp.Action) {
	b.t.Helper()
	if err := chromedp.Run(b.ctx, actions...); err != nil {
		b.t.Fatalf("in the browser, at %s: %v", b.At(), err)
	}
}

// At is the address of the page that is open.
func (b *Browser) At() (address string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(b.ctx), 5*time.Second)
	defer cancel()
	_ = chromedp.Run(ctx, chromedp.Location(&address))
	return address
}

// Open goes to a page and waits for its heading.
func (b *Browser) Open(address string) {
	b.t.Helper()
	b.Do(chromedp.Navigate(address), chromedp.WaitVisible("h1"))
}

// Click follows a link or presses a button where it is: rows that are laid out late must not move it away from a
// pointer. Then it waits for what has to be there.
func (b *Browser) Click(selector, wait string) {
	b.t.Helper()
	b.Do(chromedp.WaitReady(selector), chromedp.Evaluate(fmt.Sprintf("document.querySelector(%q).dispatchEvent(new MouseEvent('click', {bubbles: true, cancelable: true, view: window}))", selector), nil), chromedp.WaitReady(wait))
}

// Text is what a person reads in the first element that fits.
func (b *Browser) Text(selector string) (text string) {
	b.t.Helper()
	b.Do(chromedp.WaitReady(selector), chromedp.Evaluate(fmt.Sprintf("document.querySelector(%q).textContent.replace(/\\s+/g, ' ').trim()", selector), &text))
	return text
}

// Count is how many elements fit.
func (b *Browser) Count(selector string) (n int) {
	b.t.Helper()
	b.Do(chromedp.Evaluate(fmt.Sprintf("document.querySelectorAll(%q).length", selector), &n))
	return n
}

// Eval is what JavaScript gives in the page.
func Eval[T any](b *Browser, script string) (result T) {
	b.t.Helper()
	b.Do(chromedp.Evaluate(script, &result, func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }))
	return result
}

// Look is a way to look at a page.
type Look struct {
	Name          string
	Width, Height int64
	Scheme        string
}

// Looks are those that every page is tried in.
var Looks = []Look{
	{"wide-light", 1440, 900, "light"},
	{"wide-dark", 1440, 900, "dark"},
	{"phone-light", 390, 844, "light"},
	{"phone-dark", 390, 844, "dark"},
}

// As looks at what follows in a way of its own.
func (b *Browser) As(l Look) {
	b.t.Helper()
	b.Do(chromedp.EmulateViewport(l.Width, l.Height),
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: l.Scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}}))
}

// Check looks for what is wrong with the page that is open: wider than the screen, not in the colours asked for, or
// with findings of axe that are serious or critical.
func (b *Browser) Check(l Look) {
	b.t.Helper()
	at := l.Name + " " + b.At()
	if wide := Eval[int](b, "document.documentElement.scrollWidth - innerWidth"); wide > 0 {
		b.t.Errorf("%s: %d pixels too wide: %s", at, wide, Eval[string](b, widest))
	}
	// The ink on a dark page is light.
	if dark := Eval[bool](b, "getComputedStyle(document.body).color.match(/\\d+/g).every(c => c > 128)"); dark != (l.Scheme == "dark") {
		b.t.Errorf("%s: dark is %v", at, dark)
	}
	for _, finding := range b.findings() {
		b.t.Errorf("%s: %s", at, finding)
	}
}

// widest names what reaches over the edge of the screen.
const widest = "[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('.scroll,svg')).slice(0, 3).map(e => e.outerHTML.slice(0, 120)).join(' | ')"

// findings are the serious and critical ones of axe on the page that is open.
func (b *Browser) findings() []string {
	b.t.Helper()
	if b.axe == "" {
		_, here, _, _ := goruntime.Caller(0)
		text, err := os.ReadFile(filepath.Join(filepath.Dir(here), "../e2e/node/node_modules/axe-core/axe.min.js"))
		if err != nil {
			b.t.Fatalf("axe is missing; make testdeps installs it: %v", err)
		}
		b.axe = string(text)
	}
	b.Do(chromedp.Evaluate(b.axe, nil))
	return Eval[[]string](b, `axe.run(document, {resultTypes: ['violations'], runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']}).then(r => r.violations
		.filter(v => v.impact === 'serious' || v.impact === 'critical')
		.map(v => v.impact + ' ' + v.id + ': ' + v.help + ': ' + v.nodes.slice(0, 3).map(n => n.html.slice(0, 160) + ' ' + n.failureSummary.split('\n').slice(1, 2)).join(' | ')))`)
}

// Shot writes a picture of the top of the page that is open, no higher than asked, as WebP.
func (b *Browser) Shot(file string, l Look) {
	b.t.Helper()
	var picture []byte
	height := min(float64(Eval[int](b, "document.documentElement.scrollHeight")), float64(l.Height))
	b.Do(chromedp.ActionFunc(func(ctx context.Context) (err error) {
		picture, err = page.CaptureScreenshot().WithFormat(format(file)).WithQuality(85).WithCaptureBeyondViewport(true).
			WithClip(&page.Viewport{Width: float64(l.Width), Height: height, Scale: 1}).Do(ctx)
		return err
	}))
	if err := os.WriteFile(file, picture, 0o644); err != nil { //nolint:gosec // it is for the documentation
		b.t.Fatal(err)
	}
}

func format(file string) page.CaptureScreenshotFormat {
	if strings.HasSuffix(file, ".png") {
		return page.CaptureScreenshotFormatPng
	}
	return page.CaptureScreenshotFormatWebp
}
