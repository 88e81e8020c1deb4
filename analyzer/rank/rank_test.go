package rank_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/whosehop/whosehop/analyzer/baseline"
	"github.com/whosehop/whosehop/analyzer/blame"
	"github.com/whosehop/whosehop/analyzer/rank"
	"github.com/whosehop/whosehop/analyzer/trace"
	"github.com/whosehop/whosehop/internal/tracescript"
	"github.com/whosehop/whosehop/ownership"
	"github.com/whosehop/whosehop/ownership/catalog"
	"github.com/whosehop/whosehop/storage/spans"
	"github.com/whosehop/whosehop/verdict"
)

// forest makes a trace of a script; n tells it apart and places it in time.
func forest(t *testing.T, script string, n int) *trace.Forest {
	t.Helper()
	list, err := tracescript.Parse(script)
	if err != nil {
		t.Fatal(err)
	}
	for i := range list {
		list[i].StartNs += int64(n) * 1e9
		list[i].EndNs += int64(n) * 1e9
	}
	block := tracescript.Block(list, spans.TraceID{byte(n >> 8), byte(n), 15: 1})
	return trace.Build(block, trace.Group(block)[0].Rows, 0)
}

// shop is a request with two calls: how long the front works, what lies around the call of the cart,
// how long cart and tax take, and what the tax answers.
func shop(front, before, cart, after, tax, code int) string {
	at := 1 + before
	end := at + cart + after
	return fmt.Sprintf("front SERVER \"GET /\" 0..%d %d\n  front CLIENT c 1..%d 200 @cart\n    cart SERVER cart %d..%d 200\n  front CLIENT x %d..%d %d @tax\n    tax SERVER tax %d..%d %d",
		end+tax+2+front, code, end, at, at+cart, end, end+tax+1, code, end, end+tax, code)
}

func suspects(before, window []*trace.Forest, records ...catalog.Record) []verdict.Suspect {
	owners := ownership.Compile(records, ownership.Config{})
	cfg := blame.Config{Normal: baseline.LearnSteady(before), Owners: owners}
	r := rank.Ranker{Owners: owners}
	for _, f := range before {
		r.Normal(f, blame.Judge(f, cfg))
	}
	for _, f := range window {
		r.Window(f, blame.Judge(f, cfg))
	}
	return r.Suspects(5)
}

func TestSuspects(t *testing.T) {
	for name, c := range map[string]struct {
		now  func(n int) string
		want []string
	}{
		"own time":             {func(n int) string { return shop(5, 1, 90+n%7, 1, 10, 200) }, []string{"cart"}},
		"the front itself":     {func(n int) string { return shop(150, 1, 10+n%3, 1, 10, 200) }, []string{"front"}},
		"an answer that hangs": {func(n int) string { return shop(5, 1, 10, 80+n%5, 10, 200) }, []string{"cart"}},
		"errors":               {func(n int) string { return shop(5, 1, 10+n%3, 1, 10, 500) }, []string{"tax"}},
		"two at once": {func(n int) string {
			if n%2 == 0 {
				return shop(5, 1, 90, 1, 10, 200)
			}
			return shop(5, 1, 10, 1, 10, 500)
		}, []string{"cart", "tax"}},
	} {
		t.Run(name, func(t *testing.T) {
			var before, window []*trace.Forest
			for n := range 60 {
				before = append(before, forest(t, shop(5, 1, 10+n%3, 1, 10, 200), n))
			}
			for n := range 40 {
				window = append(window, forest(t, c.now(n), 100+n))
			}
			got := suspects(before, window)
			for k, want := range c.want {
				if k >= len(got) || got[k].Service != want || got[k].Rank != k+1 || got[k].Why == "" || len(got[k].Exemplars) == 0 {
					t.Fatalf("want %v, got %+v", c.want, got)
				}
			}
			rand.Shuffle(len(window), func(i, j int) { window[i], window[j] = window[j], window[i] })
			if again := suspects(before, window); !reflect.DeepEqual(got, again) {
				t.Errorf("the order of the traces matters: %+v, %+v", got, again)
			}
		})
	}
}

// A slow start within the history itself is not what the window is measured against.
// A suspect is owned as its verdicts say, and its legs and operations by the same rule, at the time of the traces.
func TestOwners(t *testing.T) {
	var before, failing, hangs, slow []*trace.Forest
	for n := range 60 {
		before = append(before, forest(t, shop(5, 1, 10+n%3, 1, 10, 200), n))
	}
	for n := range 40 {
		failing = append(failing, forest(t, shop(5, 1, 10+n%3, 1, 10, 500), 100+n))
		hangs = append(hangs, forest(t, shop(5, 1, 10, 80+n%5, 10, 200), 100+n))
		slow = append(slow, forest(t, shop(5, 1, 90+n%7, 1, 10, 200), 100+n))
	}
	day := time.Unix(0, before[0].Nodes[0].StartNs).Add(24 * time.Hour)
	service := func(name string) catalog.Record {
		return catalog.Record{Kind: catalog.Service, Name: name, Owner: "team-" + name}
	}
	edge := catalog.Record{Kind: catalog.Edge, Caller: "front", Callee: "cart", Phase: "network", Owner: "platform-net"}
	for name, c := range map[string]struct {
		window  []*trace.Forest
		records []catalog.Record
		want    string
	}{
		"a service":               {slow, []catalog.Record{service("cart")}, "team-cart"},
		"what fails, by verdicts": {failing, []catalog.Record{service("tax"), {Kind: catalog.Operation, Name: "tax", Operation: "t*", Owner: "team-duty"}}, "team-duty"},
		"an edge, by time":        {hangs, []catalog.Record{service("front"), service("cart"), edge}, "platform-net"},
		"an edge of the callee":   {hangs, []catalog.Record{service("cart"), {Kind: catalog.Edge, Caller: "*", Callee: "cart", Accountable: "callee"}}, "team-cart"},
		"an operation":            {slow, []catalog.Record{service("cart"), {Kind: catalog.Operation, Name: "cart", Operation: "cart", Owner: "team-basket"}}, "team-basket"},
		"whoever owned it then":   {slow, []catalog.Record{{Kind: catalog.Service, Name: "cart", Owner: "team-then", Until: day}, {Kind: catalog.Service, Name: "cart", Owner: "team-now", From: day}}, "team-then"},
		"nobody, as far is known": {slow, nil, verdict.OwnerUnowned},
	} {
		got := suspects(before, c.window, c.records...)
		if len(got) == 0 || got[0].Owner != c.want {
			t.Errorf("%s: want %s, got %+v", name, c.want, got)
		}
	}
}

func TestHistoryThatWasNotSteady(t *testing.T) {
	var before, window []*trace.Forest
	for n := range 60 {
		cart := 10 + n%3
		if n >= 20 {
			cart = 200
		}
		before = append(before, forest(t, shop(5, 1, cart, 1, 10, 200), n))
	}
	for n := range 20 {
		window = append(window, forest(t, shop(5, 1, 200+n%5, 1, 11, 200), 100+n))
	}
	if got := suspects(before, window); len(got) == 0 || got[0].Service != "cart" || got[0].Score < 0.5 {
		t.Errorf("%+v", got)
	}
}

func TestBreaksOff(t *testing.T) {
	whole := "a SERVER op 0..50 200\n  a CLIENT c 1..10 200 @b\n    b SERVER b 2..9 200\n  a CLIENT d 11..20 200 @c\n    c SERVER c 12..19 200"
	short := "a SERVER op 0..15 200\n  a CLIENT c 1..10 200 @b\n    b SERVER b 2..9 200"
	other := "z SERVER op2 0..50 200\n  z CLIENT c 1..10 200 @b\n    b SERVER b 2..9 200\n  z CLIENT d 11..20 200 @c\n    c SERVER c 12..19 200"
	otherShort := "z SERVER op2 0..15 200\n  z CLIENT c 1..10 200 @b\n    b SERVER b 2..9 200"
	run := func(now ...string) string {
		var before, window []*trace.Forest
		for n := range 40 {
			before = append(before, forest(t, []string{whole, other}[n%2], n))
			window = append(window, forest(t, now[n%len(now)], 100+n))
		}
		if got := suspects(before, window); len(got) > 0 {
			return got[0].Service
		}
		return ""
	}
	if got := run(short, other); got != "a" {
		t.Errorf("one operation breaks off: %q", got)
	}
	if got := run(short, otherShort); got != "b" {
		t.Errorf("two break off after the same call: %q", got)
	}
	if got := run(whole, other); got != "" && got != "a" && got != "z" {
		t.Errorf("nothing is new: %q", got)
	}
}

func TestNothing(t *testing.T) {
	var r rank.Ranker
	if got := r.Suspects(5); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}
