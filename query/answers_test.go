package query

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/verdict"
)

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func broke(entry, service, owner string, minute int, requests float64) storage.BlameRow {
	at := noon.Add(time.Duration(minute) * time.Minute)
	amount := int64(1e6 * requests)
	return storage.BlameRow{
		At: at.Truncate(5 * time.Minute), EntryService: "web", EntryOperation: entry, Kind: "service", Service: service, Accountable: service, Owner: owner,
		Amount: amount, Failed: amount, Stored: amount, FirstNs: at.UnixNano(), LastNs: at.UnixNano(), Exemplar: at.Format("1504"), MainRule: "self-error", MainOwner: owner,
	}
}

func TestNowRanksHopsUnderTheirEntries(t *testing.T) {
	rows := []storage.BlameRow{
		broke("GET /a", "pay", "team-pay", 3, 2), broke("GET /a", "cart", "team-cart", 4, 1), broke("GET /b", "pay", "team-pay", 20, 0.5),
		broke("GET /a", "pay", "team-pay", 31, 5),
	}
	entries, more := nowOf(rows, noon, noon.Add(time.Hour), 5*time.Minute, 1)
	if more != 0 || len(entries) != 2 || entries[0].Operation != "GET /a" || entries[0].Requests != 8 || entries[1].Requests != 0.5 {
		t.Fatalf("%+v, %d more", entries, more)
	}
	hops := entries[0].Hops
	if len(hops) != 1 || hops[0].Site.Service != "pay" || hops[0].Share != 0.875 || hops[0].Exemplar != "1231" || !hops[0].Since.Equal(noon.Add(3*time.Minute)) {
		t.Errorf("%+v", hops)
	}
	want := make([]float64, 13)
	want[0], want[6] = 2, 5
	if diff := cmp.Diff(want, hops[0].Trend); diff != "" {
		t.Errorf("trend (-want +got):\n%s", diff)
	}
	answer := NowResponse{Entries: entries}
	answer.countAll([]storage.Operation{{Service: "web", Name: "GET /a", Kind: "Server", Entries: 90}, {Service: "web", Name: "GET /a", Kind: "Internal", Entries: 9}, {Service: "cart", Name: "GET /b", Entries: 1}})
	if entries[0].All != 99 || entries[1].All != 0 {
		t.Errorf("all: %v, %v", entries[0].All, entries[1].All)
	}
}

func TestRecurrencesAreFaultsThatCameBack(t *testing.T) {
	at := func(fingerprint string, hours ...int) storage.BlameRow {
		r := storage.BlameRow{Fingerprint: fingerprint, Kind: "service", Service: fingerprint, Amount: int64(1e6 * len(hours)), FirstNs: noon.UnixNano(), LastNs: noon.Add(time.Hour).UnixNano()}
		for _, h := range hours {
			r.Hours = append(r.Hours, uint32(noon.Add(time.Duration(h)*time.Hour).Unix()))
		}
		return r
	}
	rows := []storage.BlameRow{at("steady", 0, 1, 2, 3), at("twice", 0, 2), at("nightly", 0, 24, 25, 48)}
	list := recurrences(rows, 10)
	if len(list) != 2 || list[0].Fingerprint != "nightly" || list[0].Days != 3 || list[0].Episodes != 3 || list[0].Requests != 4 ||
		list[1].Fingerprint != "twice" || list[1].Days != 1 || list[1].Episodes != 2 || !list[1].FirstSeen.Equal(noon) || !list[1].LastSeen.Equal(noon.Add(time.Hour)) {
		t.Errorf("%+v", list)
	}
	if list := recurrences(rows, 1); len(list) != 1 {
		t.Errorf("%d instead of 1", len(list))
	}
}

func TestMapSaysWhatEdgesCost(t *testing.T) {
	g := newGraph()
	for _, e := range []storage.Edge{
		{Caller: storage.UserCaller, Callee: "web", Type: "virtual_node", Calls: 9, ServerBuckets: []uint64{9}},
		{Caller: "web", Callee: "pay", Calls: 5, Failed: 1, ServerBuckets: []uint64{5}},
		{Caller: "pay", Callee: "db", Type: "database", Calls: 7, ServerBuckets: []uint64{0, 0}},
	} {
		g.called(&e)
	}
	for _, r := range []storage.BlameRow{
		{Kind: "service", Service: "pay", Via: "web", Target: "db", Amount: 2e6},
		{Kind: "edge", Caller: "web", Callee: "pay", Amount: 3e6},
		{Kind: "peer", Peer: "db", Via: "pay", Amount: 4e6},
		{Kind: "user", Amount: 5e6},
		{Kind: "unknown", Amount: 6e6},
	} {
		g.cost(&r)
	}
	type edge struct {
		Caller, Callee           string
		Calls                    float64
		Itself, Callees, Callers float64
	}
	edges := func(r *MapRequest) (list []edge) {
		for _, e := range g.answer(g.kept(r)).Edges {
			list = append(list, edge{e.Caller, e.Callee, e.Calls, e.Itself.Requests, e.ByCallee.Requests, e.ByCaller.Requests})
		}
		return list
	}
	all := []edge{{"pay", "db", 7, 0, 4, 2}, {"web", "pay", 5, 3, 2, 0}, {"user", "web", 9, 0, 0, 0}}
	if diff := cmp.Diff(all, edges(&MapRequest{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(all[:1], edges(&MapRequest{Focus: "db", Depth: 1})); diff != "" {
		t.Errorf("around db (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(all[:2], edges(&MapRequest{Focus: "db", Depth: 2})); diff != "" {
		t.Errorf("two around db (-want +got):\n%s", diff)
	}
	kinds := make(map[string]verdict.SiteKind)
	for _, n := range g.nodes {
		kinds[n.Name] = n.Kind
	}
	if diff := cmp.Diff(map[string]verdict.SiteKind{"user": "user", "web": "service", "pay": "service", "db": "peer"}, kinds); diff != "" {
		t.Errorf("kinds (-want +got):\n%s", diff)
	}
}

// TestNamesOfParts: whatever is asked for, what has no such name is left out and the rest adds up.
func TestNamesOfParts(t *testing.T) {
	rows := []storage.BlameRow{
		{Kind: "service", Service: "pay", Operation: "POST /", Accountable: "pay", Owner: "o", ServiceVersion: "2", Fingerprint: "f1", Rule: "self-error", Class: "INTERNAL", EntryService: "web", EntryOperation: "GET /", Amount: 3e6, ExcessNs: 5},
		{Kind: "edge", Caller: "web", Callee: "pay", Phase: "pool", Accountable: "web", Owner: "p", Fingerprint: "f2", Rule: "pool", EntryService: "web", EntryOperation: "GET /", Amount: 2e6},
		{Kind: "edge", Caller: "web", Callee: "pay", Phase: "response", Owner: "unowned", Fingerprint: "f3", Rule: "response-lost", EntryService: "web", EntryOperation: "GET /", Amount: 1e6},
		{Kind: "user", Owner: "user", Fingerprint: "f1", EntryService: "web", EntryOperation: "GET /", Amount: 1e6, ExcessNs: 2},
	}
	for by, want := range map[string]map[string]float64{
		"owner":       {"o": 3, "p": 2, "unowned": 1, "user": 1},
		"service":     {"pay": 3, "web": 2, "web->pay": 1, "user": 1},
		"operation":   {"pay POST /": 3, "web->pay (pool)": 2, "web->pay (response)": 1, "the sender of the request": 1},
		"edge":        {"web->pay (pool)": 2, "web->pay (response)": 1},
		"fingerprint": {"f1": 4, "f2": 2, "f3": 1},
		"rule":        {"self-error": 3, "pool": 2, "response-lost": 1},
		"class":       {"INTERNAL": 3},
		"version":     {"pay 2": 3},
		"entry":       {"web GET /": 7},
	} {
		got := make(map[string]float64)
		last := math.Inf(1)
		for _, p := range partsOf(rows, by, 100) {
			got[p.Name] = p.Requests
			if p.Requests > last {
				t.Errorf("by %s: %s is not in its place", by, p.Name)
			}
			last = p.Requests
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("by %s (-want +got):\n%s", by, diff)
		}
		if !slices.Contains(topNames, by) {
			t.Errorf("%s cannot be asked for", by)
		}
	}
}

func TestStepsOfAWindow(t *testing.T) {
	for _, test := range []struct {
		ago, window, step, want time.Duration
		ok                      bool
	}{
		{0, time.Hour, 0, time.Minute, true},
		{0, time.Hour, time.Second, 0, false},
		{0, time.Hour, 1500 * time.Millisecond, 0, false},
		{0, 24 * time.Hour, 0, time.Hour, true},
		{0, 24 * time.Hour, 30 * time.Minute, 0, false},
		{0, 24 * time.Hour, 2 * time.Hour, 2 * time.Hour, true},
		{0, 365 * 24 * time.Hour, 0, 7 * 24 * time.Hour, true},
		{100 * 24 * time.Hour, time.Hour, 0, time.Hour, true},
		{100 * 24 * time.Hour, time.Hour, time.Minute, 0, false},
	} {
		end := time.Now().Truncate(time.Hour).Add(time.Minute - test.ago)
		from, to := storage.Align(end.Add(-test.window), end, 0)
		got, err := stepOf(from, to, test.step)
		if (err == nil) != test.ok || got != test.want {
			t.Errorf("%s by %s, %s ago: %s, %v", test.window, test.step, test.ago, got, err)
		}
	}
}

func TestWhenItBegan(t *testing.T) {
	spell := func(from, to float64) storage.Spell {
		at := func(hours float64) int64 { return noon.Add(-time.Duration(hours * float64(time.Hour))).UnixNano() }
		return storage.Spell{FirstNs: at(from), LastNs: at(to)}
	}
	from := noon.Add(-100 * time.Hour)
	for name, test := range map[string]struct {
		spells []storage.Spell
		want   float64 // hours before noon, 0 for not known
	}{
		"just now":          {nil, 0.5},
		"an hour before":    {[]storage.Spell{spell(1.9, 1.1)}, 1.9},
		"with a short rest": {[]storage.Spell{spell(1.9, 1.1), spell(4, 3.5)}, 4},
		"with a long rest":  {[]storage.Spell{spell(1.9, 1.1), spell(6, 4)}, 1.9},
		"of several":        {[]storage.Spell{spell(2, 1), spell(4, 1.5), spell(4.5, 4)}, 4.5},
		"always":            {[]storage.Spell{spell(50, 1), spell(99, 51)}, 0},
	} {
		got := beganAt(noon.Add(-30*time.Minute), test.spells, from)
		if want := noon.Add(-time.Duration(test.want * float64(time.Hour))); test.want == 0 && !got.IsZero() || test.want > 0 && !got.Equal(want) {
			t.Errorf("%s: %s", name, got)
		}
	}
}
