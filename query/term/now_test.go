package term

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/whosehop/whosehop/query"
	"github.com/whosehop/whosehop/verdict"
)

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func TestNow(t *testing.T) {
	n := &query.NowResponse{
		Window: query.Window{From: noon.Add(-time.Hour), To: noon},
		Total:  query.Amounts{Requests: 320, Failed: 300, Slow: 20, Stored: 32},
		Entries: []query.NowEntry{{
			Service: "web", Operation: "GET /checkout", Amounts: query.Amounts{Requests: 320, Failed: 300, Slow: 20}, All: 4000, Trend: []float64{0, 160, 320},
			Hops: []query.NowHop{
				{
					Site: verdict.Site{Kind: verdict.SiteService, Service: "payments", Operation: "POST /charge"}, Owner: "team-payments", Share: 0.9, Trend: []float64{0, 1, 8},
					Rule: "self-error", Since: noon.Add(-20 * time.Minute), Version: "2.1", NewVersion: true, Exemplar: "4bf9",
				},
				{
					Site: verdict.Site{Kind: verdict.SiteEdge, Caller: "web", Callee: "a-service-with-a-name-that-is-far-too-long", Phase: verdict.PhaseResponse}, Owner: "unowned", Share: 0.1,
					Rule: "slow-gap", Amounts: query.Amounts{ExcessNs: 2_500_000_000}, Exemplar: "77aa",
				},
			},
		}},
		More: 3,
	}
	const want = `320 failed or slow (300 failed, 20 slow) (by 32 that were sampled)  11:00 to 12:00 UTC

web GET /checkout  320 of 4000 failed or slow (300 failed, 20 slow)  ▁▅█
   90 %  payments POST /charge                         team-payments         ▁▂█  self-error, for 20 min, with the new version 2.1
         whosehop blame 4bf9
   10 %  web->a-service-with-a-name-that-is-far-too-…  unowned                 slow-gap, for more than a week, 2.5 s lost
         whosehop blame 77aa

3 more entries; --entry or --owner narrows this down
`
	var got bytes.Buffer
	if err := (Painter{}).Now(&got, n, noon); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	got.Reset()
	if err := (Painter{}).Now(&got, &query.NowResponse{Window: n.Window}, noon); err != nil || got.String() != "nothing failed or was slow  11:00 to 12:00 UTC\n" {
		t.Errorf("%s, %v", &got, err)
	}
}

func TestReport(t *testing.T) {
	part := query.Part{Name: "payments POST /charge", Amounts: query.Amounts{Requests: 12.5}, Rule: "self-error", Exemplar: "4bf9"}
	r := &query.ReportResponse{
		Owner: "team-payments", Window: query.Window{From: noon.Add(-24 * time.Hour), To: noon},
		Caused: query.Amounts{Requests: 12.5, ExcessNs: 3e9}, Of: query.Amounts{Requests: 50}, CausedBefore: query.Amounts{Requests: 2}, Suffered: query.Amounts{Requests: 7},
		Operations: []query.Part{part}, SufferedFrom: []query.Part{{Name: "unowned", Amounts: query.Amounts{Requests: 7}, Exemplar: "77aa"}},
		Recurring:  []query.Recurrence{{Part: part, Days: 1, Episodes: 4}},
		Neighbours: []query.Neighbour{{Name: "bank:443", Caused: query.Amounts{Requests: 3}, Services: []string{"payments", "refunds"}}},
	}
	const want = `team-payments  2026-11-19 12:00 to 2026-11-20 12:00 UTC
caused          12 requests, 25 % of all, 3.0 s lost; a week before 2, no time
suffered         7 requests, no time lost; a week before 0, no time

caused by operation
      12  payments POST /charge  self-error      4bf9

suffered from
       7  unowned                  77aa

comes back
      12  payments POST /charge  4 times on 1 day, self-error

owned by nobody, beside
       3  bank:443  beside payments, refunds
`
	var got bytes.Buffer
	if err := (Painter{}).Report(&got, r); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
