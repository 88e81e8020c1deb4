package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/whosehop/whosehop/internal/browsertest"
)

// TestPagesOfTheShop: a browser is open while the shop breaks; what broke appears by itself, and leads to whose it is.
func TestPagesOfTheShop(t *testing.T) {
	owners := filepath.Join(t.TempDir(), "owners.yaml")
	text, err := exec.CommandContext(t.Context(), filepath.Join(bin, "shop"), "owners").Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(owners, text, 0o600); err != nil {
		t.Fatal(err)
	}
	u := startUp(t, t.TempDir(), "--ownership-file", owners)
	b := browsertest.New(t)
	b.As(browsertest.Looks[0])
	b.Open(u.http + "/")
	if got := b.Text("h1"); got != "Nothing is breaking" {
		t.Error(got)
	}
	runShop(t, u, "--rate", "12", "--for", "4s", "--fault", "leaf-error")
	b.Do(chromedp.WaitVisible("section.entry")) // it is refreshed every ten seconds
	if got := b.Text("section.entry"); !strings.Contains(got, "storefront GET /checkout") || !strings.Contains(got, "payments") || !strings.Contains(got, "team-payments") {
		t.Error(got)
	}
	for _, step := range []struct{ click, wait string }{{".hops .chip", ".parts"}, {".hops .hop a", "h1"}, {".hops .links a:last-child", ".list a.s"}, {".hops .links a", ".waterfall"}} {
		b.Open(u.http + "/")
		b.Do(chromedp.Evaluate("document.querySelector('h1').className = 'old'", nil))
		b.Click(step.click, step.wait)
		b.Do(chromedp.WaitReady("h1:not(.old)"))
		b.Check(browsertest.Looks[0])
	}
	if got := b.Text("h1"); !strings.Contains(got, "payments (team-payments) broke storefront GET /checkout") {
		t.Error(got)
	}
}
