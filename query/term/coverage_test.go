package term

import (
	"bytes"
	"testing"

	"github.com/whosehop/whosehop/ownership/coverage"
)

func TestCoverage(t *testing.T) {
	report := &coverage.Report{
		Findings: []coverage.Finding{
			{
				Kind: coverage.NoOwner, Subject: coverage.Subject{Kind: coverage.OfService, Name: "pay\x1b[2J", Namespace: "shop"}, Failed: 12.25, ExcessNs: 7200e9, Share: 0.5, Spans: 1000, Text: "Nobody owns it.",
				Suggestion: &coverage.Suggestion{Owner: "team-a", Confidence: "likely", Why: []string{"it was team-a's until 3 Nov 2026", "3 of its 4 callers are team-a's"}},
			},
			{Kind: coverage.NoOnCall, Subject: coverage.Subject{Kind: coverage.OfPeer, Name: "redis cart"}, Owner: "team-b", ExcessNs: 1_234_567_890, Spans: 7, Source: "owners.yaml:12", Text: "Nobody knows whom to call."},
			{Kind: coverage.NoRunbook, Subject: coverage.Subject{Kind: coverage.OfPeer, Name: "redis cart"}, Owner: "team-b", ExcessNs: 1_234_567_890, Spans: 7, Source: "owners.yaml:12", Text: "There is no runbook."},
		},
		Totals: coverage.Totals{Services: 4, OwnedServices: 3, Spans: 2000, OwnedSpans: 1000, Failed: 24.5, OwnedHarm: 0.5, Findings: map[coverage.Kind]int{coverage.NoOwner: 1, coverage.NoRunbook: 42}},
	}
	const want = `3 of 4 services have an owner, with 50 % of the spans and 50 % of the harm

 1  pay?[2J (shop)  50 % of all harm: 12.2 failed requests, 7200 s lost, 1000 spans
    no-owner       Nobody owns it.
    likely team-a: it was team-a's until 3 Nov 2026; 3 of its 4 callers are team-a's

 2  redis cart  1.2 s lost, 7 calls
    no-on-call     Nobody knows whom to call.
    no-runbook     There is no runbook.
    owners.yaml:12

40 more: see --limit and --kind
`
	var got bytes.Buffer
	if err := (Painter{}).Coverage(&got, report, ""); err != nil || got.String() != want {
		t.Errorf("%v: got\n%swant\n%s", err, &got, want)
	}
	got.Reset()
	if err := (Painter{}).Coverage(&got, &coverage.Report{}, "no-owner"); err != nil || got.String() != "nothing is wrong with the owners of what was seen\n" {
		t.Errorf("%v: %s", err, &got)
	}
}
