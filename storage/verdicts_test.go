package storage_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/whosehop/whosehop/internal/clickhousetest"
	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/storage/spans"
	"github.com/whosehop/whosehop/verdict"
)

// judged is a trace that checkout entered and payments broke, with a second share for the database.
func judged(n byte, version uint32, start time.Time, owner string) storage.JudgedTrace {
	id := spans.TraceID{9, 15: n}
	return storage.JudgedTrace{
		SettledTrace: storage.SettledTrace{TraceID: id, Version: version, Rows: 5, FirstIngest: start.Truncate(time.Millisecond), LastIngest: start},
		Verdicts: []verdict.Verdict{{
			TraceID: fmt.Sprintf("%x", id[:]), Version: version, Symptom: verdict.SymptomError, Summary: "it was payments",
			Entry: verdict.Entry{Service: "checkout", Operation: "POST /pay", SpanID: "0000000000000001", Start: verdict.Time{UnixNs: start.UnixNano()}, DurationNs: 5e6},
			Shares: []verdict.Share{
				{Site: verdict.Site{Kind: verdict.SiteService, Service: "payments"}, Accountable: "payments", Owner: owner, Weight: 0.75, Rule: "self-error"},
				{Site: verdict.Site{Kind: verdict.SiteEdge, Caller: "payments", Callee: "db", Phase: verdict.PhasePool}, Accountable: "payments", Owner: "unowned", Weight: 0.25, Rule: "pool"},
			},
			Hops: []verdict.Hop{{Service: "checkout", Owner: "team-checkout", Role: verdict.RolePropagated}, {Service: "payments", Owner: owner, Role: verdict.RoleOrigin}},
		}},
	}
}

func TestVerdictsAreFoundAndCountedOnce(t *testing.T) {
	verdictsAreFoundAndCountedOnce(t, clickhousetest.DB(t))
}

func verdictsAreFoundAndCountedOnce(t *testing.T, db *storage.DB) {
	t.Helper()
	start := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	var all []storage.JudgedTrace
	for i := range 5 {
		all = append(all, judged(byte(i), 1, start.Add(time.Duration(i)*time.Minute), "team-a"))
	}
	// The first is judged again, for another owner: it must count once, and for that one.
	all = append(all, judged(0, 2, start, "team-b"))
	for _, j := range all {
		shard := db.Locals()[db.Shards().Of(j.TraceID)]
		if err := shard.WriteJudged(t.Context(), slices.Values([]*storage.JudgedTrace{&j})); err != nil {
			t.Fatal(err)
		}
	}
	bodies, of, found, err := db.TraceVerdicts(t.Context(), spans.TraceID{9})
	if err != nil || !found || len(bodies) != 1 || of.Version != 2 {
		t.Fatalf("%v %+v %v %v", bodies, of, found, err)
	}
	if _, _, found, err := db.TraceVerdicts(t.Context(), spans.TraceID{8}); err != nil || found {
		t.Fatalf("a trace that is not there: %v %v", found, err)
	}

	from, to := start.Add(-time.Hour), start.Add(time.Hour)
	filter := storage.VerdictFilter{From: from, To: to, Limit: 2}
	seen := 0
	for {
		page, err := db.ListVerdicts(t.Context(), filter)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		seen += len(page)
		filter.Before = &page[len(page)-1].Key
	}
	if seen != 5 {
		t.Errorf("%d verdicts on all pages, want 5", seen)
	}
	for name, test := range map[string]struct {
		edit func(*storage.VerdictFilter)
		want int
	}{
		"owner":     {func(f *storage.VerdictFilter) { f.Owner = "team-b" }, 1},
		"service":   {func(f *storage.VerdictFilter) { f.Service = "payments" }, 5},
		"entry":     {func(f *storage.VerdictFilter) { f.Entry = "checkout POST /pay" }, 5},
		"no entry":  {func(f *storage.VerdictFilter) { f.Entry = "payments" }, 0},
		"symptom":   {func(f *storage.VerdictFilter) { f.Symptom = "degraded" }, 0},
		"no owner":  {func(f *storage.VerdictFilter) { f.Owner = "x'; DROP TABLE verdicts" }, 0},
		"before it": {func(f *storage.VerdictFilter) { f.To = start }, 0},
	} {
		f := storage.VerdictFilter{From: from, To: to, Limit: 100}
		test.edit(&f)
		list, err := db.ListVerdicts(t.Context(), f)
		if err != nil || len(list) != test.want {
			t.Errorf("by %s: %d, %v; want %d", name, len(list), err, test.want)
		}
	}

	sums := func(suffered bool) map[string]float64 {
		rows, err := db.Blame(t.Context(), storage.BlameFilter{From: from, To: to, Suffered: suffered}, []string{"Owner"}, time.Hour, 100)
		if err != nil {
			t.Fatal(err)
		}
		of := make(map[string]float64)
		for _, r := range rows {
			of[r.Owner] += float64(r.Amount) / 1e6
		}
		return of
	}
	want := map[string]float64{"team-a": 3, "team-b": 0.75, "unowned": 1.25}
	if caused := sums(false); !maps.Equal(caused, want) {
		t.Errorf("caused %v, want %v", caused, want)
	}
	if suffered := sums(true); !maps.Equal(suffered, map[string]float64{"team-checkout": 5}) {
		t.Errorf("suffered %v", suffered)
	}
}
