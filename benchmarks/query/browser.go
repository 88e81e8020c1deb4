package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
)

// loads are how long after the begin of the navigation to a page: its first content was painted, it could be read
// (painted, and its heading has a place), it was loaded.
type loads struct{ painted, readable, loaded []time.Duration }

// heading notes when the heading has a place, frame by frame.
const heading = `(() => { const look = () => {
	const h = document.querySelector("main h1");
	if (h && h.getBoundingClientRect().height > 0) { window.whenHeading = performance.now(); return; }
	requestAnimationFrame(look);
}; requestAnimationFrame(look); })()`

const told = `(() => {
	const paint = performance.getEntriesByName("first-contentful-paint")[0], load = performance.getEntriesByType("navigation")[0].loadEventEnd;
	return paint && load && window.whenHeading ? [paint.startTime, window.whenHeading, load] : null;
})()`

// browse loads a page so many times in headless Chromium, each time with a new profile, which has nothing cached. The first
// load, with which the browser itself wakes up, is not counted.
func browse(ctx context.Context, address string, times int) (l loads, err error) {
	program := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil && program == "" {
			program = path
		}
	}
	if program == "" {
		return l, errors.New("there is no Chromium; make test installs it")
	}
	profile, err := os.MkdirTemp("", "bench-query-chromium-")
	if err != nil {
		return l, err
	}
	defer func() { _ = os.RemoveAll(profile) }()
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), chromedp.ExecPath(program), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(profile),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true), chromedp.WSURLReadTimeout(time.Minute))
	ctx, stopAllocator := chromedp.NewExecAllocator(ctx, options...)
	defer stopAllocator()
	ctx, stop := chromedp.NewContext(ctx)
	defer stop()
	if err := chromedp.Run(ctx); err != nil {
		return l, fmt.Errorf("start Chromium: %w", err)
	}
	for n := range times + 1 {
		told, err := loadOnce(ctx, address)
		if err != nil {
			return l, fmt.Errorf("load %s: %w", address, err)
		}
		if n == 0 {
			continue
		}
		at := func(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }
		l.painted = append(l.painted, at(told[0]))
		l.readable = append(l.readable, at(max(told[0], told[1])))
		l.loaded = append(l.loaded, at(told[2]))
	}
	return l, nil
}

func loadOnce(ctx context.Context, address string) (times []float64, err error) {
	var profile cdp.BrowserContextID
	var tab target.ID
	browser := cdp.WithExecutor(ctx, chromedp.FromContext(ctx).Browser)
	if profile, err = target.CreateBrowserContext().WithDisposeOnDetach(true).Do(browser); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, target.DisposeBrowserContext(profile).Do(browser)) }()
	if tab, err = target.CreateTarget("about:blank").WithBrowserContextID(profile).WithNewWindow(true).Do(browser); err != nil {
		return nil, err
	}
	ctx, stop := chromedp.NewContext(ctx, chromedp.WithTargetID(tab))
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	note := chromedp.ActionFunc(func(ctx context.Context) error {
		_, err := page.AddScriptToEvaluateOnNewDocument(heading).Do(ctx)
		return err
	})
	err = chromedp.Run(ctx, chromedp.EmulateViewport(1280, 900), note, chromedp.Navigate(address), chromedp.Poll(told, &times))
	if err == nil && len(times) != 3 {
		err = fmt.Errorf("%d times were told", len(times))
	}
	return times, err
}
