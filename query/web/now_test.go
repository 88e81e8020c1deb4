package web

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/whosehop/whosehop/query"
	"github.com/whosehop/whosehop/verdict"
)

// TestNowSaysSinceWhen: whether it began with a new version, or is older than was looked back; and what counts stand for.
func TestNowSaysSinceWhen(t *testing.T) {
	now := time.Date(2026, 11, 21, 3, 30, 0, 0, time.UTC)
	sum := query.Amounts{Requests: 4000, Failed: 3990, Slow: 10, Stored: 40, ExcessNs: 90e9}
	site := verdict.Site{Kind: verdict.SiteService, Service: "pay", Operation: "POST /<b>"}
	got := &query.NowResponse{
		Window: query.Window{From: now.Add(-time.Hour), To: now}, Steps: query.Steps{Step: 5 * time.Minute}, Total: sum, More: 3,
		Entries: []query.NowEntry{{
			Service: "web", Operation: "GET /", Amounts: sum, All: 80_000, Trend: []float64{0, 4000}, Hops: []query.NowHop{
				{Site: site, Accountable: "pay", Owner: "team/a b", Amounts: sum, Share: 0.9, Trend: []float64{0, 3600}, Rule: "self-error", Since: now.Add(-20 * time.Minute), Version: "2.3.1", NewVersion: true},
				{Site: verdict.Site{Kind: verdict.SiteUser}, Owner: verdict.OwnerUser, Amounts: sum, Share: 0.1, Trend: []float64{0, 0}, Rule: "bad-request"},
			},
		}},
	}
	var page strings.Builder
	if err := templates().ExecuteTemplate(&page, "now", newNowPage(got, url.Values{}, now)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"1 entry is failing", `<span class="chip guilt">with version 2.3.1</span>`, "(20 min ago)", "more than a week", "of 80.0k requests (5 %)", "POST /&lt;b&gt;", `href="/owners/team%2Fa%20b"`, "at most 4000 in 5 min",
		"40 stored ones stand for these 4000 requests", "3 more entries are not shown", "the sender of the request", `href="/map?focus=pay"`,
	} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("%q is not in %s", want, page.String())
		}
	}
	if strings.Contains(page.String(), "must act") {
		t.Error("that pay must act for pay goes without saying")
	}
}

// TestOwnersBeyondTheColours: each bar is of one owner, or grey and said to be of all others.
func TestOwnersBeyondTheColours(t *testing.T) {
	at := time.Date(2026, 11, 21, 3, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		owners, bars int
		grey, says   string
	}{
		{3, 3, "", "Bars over time; the table"},
		{8, 8, "owner-1 1", "Bars over time; the table"},
		{20, 8, "13 other owners 91", "grey of 13 other owners together"},
	} {
		got := &query.AttributionResponse{Window: query.Window{From: at, To: at.Add(time.Hour)}, Steps: query.Steps{Step: time.Hour}}
		for i := range c.owners {
			got.Rows = append(got.Rows, query.AttributionRow{At: at, Owner: fmt.Sprint("owner-", i+1), Caused: query.Amounts{Requests: float64(i + 1)}})
		}
		got.Rows = append(got.Rows, query.AttributionRow{At: at, Owner: "only-suffered", Suffered: query.Amounts{Requests: 500}})
		page := newOwnersPage(got, &period{Since: "1h"})
		grey := ""
		for _, b := range page.Chart.Bars {
			if b.Class == "c7" {
				grey = b.Title
			}
		}
		if len(page.Chart.Bars) != c.bars || !strings.HasSuffix(grey, c.grey) || (grey == "") != (c.grey == "") || !strings.Contains(page.Chart.Label, c.says) || len(page.Owners) != c.owners+1 {
			t.Errorf("%d owners: %d bars, grey is %q; %s", c.owners, len(page.Chart.Bars), grey, page.Chart.Label)
		}
		if last := page.Owners[c.owners-1]; c.owners > 8 && last.Class != "c7" {
			t.Errorf("%s has the colour %s", last.Name, last.Class)
		}
	}
}
