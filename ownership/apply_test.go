package ownership_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/whosehop/whosehop/ownership"
	"github.com/whosehop/whosehop/ownership/catalog"
)

// day is a day of November 2026; 0 is no time.
func day(n int) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Date(2026, 11, n, 0, 0, 0, 0, time.UTC)
}

// today is when things are applied.
var today = day(20)

// said are records of a service in a few words: "a 1..3, b 3..@other.yaml" is team a from the 1st until the 3rd of November,
// and team b from then on, by another file.
func said(words string) (records []catalog.Record) {
	if words == "" {
		return nil
	}
	for word := range strings.SplitSeq(words, ", ") {
		word, file, _ := strings.Cut(word, "@")
		owner, when, _ := strings.Cut(word, " ")
		from, until, _ := strings.Cut(when, "..")
		number := func(text string) int {
			n, _ := strconv.Atoi(text)
			return n
		}
		r := catalog.Record{Kind: catalog.Service, Name: "payments", Owner: owner, From: day(number(from)), Until: day(number(until)), Set: "default"}
		r.Source = catalog.Source{Format: "whosehop", File: file, Line: 1}
		records = append(records, r)
	}
	return records
}

// inWords is the reverse of said.
func inWords(records []catalog.Record) string {
	var words []string
	number := func(at time.Time) string {
		if at.IsZero() {
			return ""
		}
		return strconv.Itoa(at.Day())
	}
	for _, r := range records {
		word := r.Owner
		if !r.From.IsZero() || !r.Until.IsZero() {
			word += " " + number(r.From) + ".." + number(r.Until)
		}
		if r.Source.File != "" {
			word += "@" + r.Source.File
		}
		words = append(words, word)
	}
	return strings.Join(words, ", ")
}

func counts(a *ownership.Applied) string {
	return fmt.Sprintf("+%d -%d ~%d =%d", a.Added, a.Ended, a.Changed, a.Unchanged)
}

func wanted(records []catalog.Record) ownership.Wanted {
	return ownership.Wanted{Set: "default", Records: records}
}

func TestMerge(t *testing.T) {
	for _, c := range []struct{ name, stored, wanted, want, counts, handovers string }{
		{"nothing", "", "", "", "+0 -0 ~0 =0", ""},
		{"the first holds for all of the past", "", "a", "a", "+1 -0 ~0 =0", ""},
		{"the same", "a", "a", "a", "+0 -0 ~0 =1", ""},
		{"another owner", "a", "b", "a ..20, b 20..", "+0 -0 ~1 =0", "a 20 b"},
		{"the same again", "a ..20, b 20..", "b", "a ..20, b 20..", "+0 -0 ~0 =1", ""},
		{"in no file any more", "a", "", "a ..20", "+0 -1 ~0 =0", "a 20 unowned"},
		{"back again", "a ..3", "a", "a ..3, a 20..", "+1 -0 ~0 =0", "unowned 20 a"},
		{"a hand-over of the past", "a", "b 3..", "a ..3, b 3..", "+0 -0 ~1 =0", "a 3 b"},
		{"a hand-over that is written down", "a", "a ..3, b 3..", "a ..3, b 3..", "+1 -0 ~1 =0", "a 3 b"},
		{"it was earlier than when it was applied", "a ..10, b 10..", "b 3..", "a ..3, b 3..", "+0 -0 ~1 =0", "a 3 b"},
		{"it was later", "a ..3, b 3..", "a ..5, b 5..", "a ..5, b 5..", "+0 -0 ~2 =0", "a 5 b"},
		{"a time between", "a", "a, b 5..8", "a, b 5..8", "+1 -0 ~0 =1", "b 8 a; a 5 b"},
		{"a time between, of what is remembered", "a ..10, b 10..", "b, c 5..8", "a ..5, c 5..8, a 8..10, b 10..", "+1 -0 ~0 =1", "c 8 a; a 5 c"},
		{"all of the past", "a ..10, b 10..", "b, c ..12", "c ..12, b 10..", "+1 -0 ~0 =1", "c 10 b"},
		{"a hand-over to come", "a", "b 25..", "a ..25, b 25..", "+0 -0 ~1 =0", "a 25 b"},
		{"a hand-over to come, again", "a ..25, b 25..", "b 25..", "a ..25, b 25..", "+0 -0 ~0 =1", ""},
		{"a hand-over to come is put off", "a ..25, b 25..", "b 28..", "a ..28, b 28..", "+0 -0 ~1 =0", "a 28 b"},
		{"a hand-over to come is called off", "a ..25, b 25..", "a", "a", "+0 -1 ~1 =0", ""},
		{"it ends some day", "a", "a ..28", "a ..28", "+0 -0 ~1 =0", "a 28 unowned"},
		{"two files do not agree", "", "a@1, b@2", "a@1, b@2", "+2 -0 ~0 =0", ""},
		{"one of two files gives way", "a@1, b@2", "c@1, b@2", "b@2, a ..20@1, c 20..@1", "+0 -0 ~1 =1", "a 20 c"},
		{"another file says it", "a 3..@1", "a@2", "a 3..@2", "+0 -0 ~1 =0", ""},
		{"what was applied at this moment", "a 20..", "b", "b 20..", "+0 -0 ~1 =0", ""},
		{"a remembered time does not vanish when it goes on later", "a ..3, b 3..", "b ..5, a 5..", "a ..3, b 3..5, a 5..", "+1 -0 ~1 =0", "b 5 a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ownership.Merge(said(c.stored), wanted(said(c.wanted)), today)
			if words := inWords(got.Records); words != c.want {
				t.Errorf("%s and then %s makes %s, want %s", c.stored, c.wanted, words, c.want)
			}
			if n := counts(got); n != c.counts {
				t.Errorf("%s, want %s: %+v", n, c.counts, got.Changes)
			}
			var handovers []string
			for _, h := range got.Handovers {
				handovers = append(handovers, fmt.Sprint(h.Before, " ", h.At.Day(), " ", h.After))
			}
			if words := strings.Join(handovers, "; "); words != c.handovers {
				t.Errorf("hand-overs %q, want %q", words, c.handovers)
			}
			if differs := c.want != c.stored; got.Differs != differs {
				t.Errorf("differs: %v, want %v", got.Differs, differs)
			}
			again := ownership.Merge(got.Records, wanted(said(c.wanted)), today.Add(time.Hour))
			if again.Differs || again.Added+again.Ended+again.Changed != 0 || len(again.Handovers) != 0 {
				t.Errorf("the same again: %s, %s, %+v", counts(again), inWords(again.Records), again.Changes)
			}
		})
	}
}

func TestMergeHeedsOtherSets(t *testing.T) {
	elsewhere := said("a")
	elsewhere[0].Set = "shop"
	got := ownership.Merge(elsewhere, wanted(said("b")), today)
	if words := inWords(got.Records); words != "b 20.." {
		t.Errorf("what another set knew keeps its past: %s", words)
	}
	if n := counts(ownership.Merge(elsewhere, wanted(nil), today)); n != "+0 -0 ~0 =0" {
		t.Errorf("another set is touched: %s", n)
	}
}

// TestMergeTellsConflicts: whoever takes something over from another set is told, and of its own contradictions.
func TestMergeTellsConflicts(t *testing.T) {
	elsewhere, ended := said("a@shop.yaml, x ..3@shop.yaml, y@other.yaml"), said("z 2..3")
	for i := range elsewhere {
		elsewhere[i].Set = "shop"
	}
	elsewhere[2].Name, ended[0].Name = "cart", "cart"
	stored := append(elsewhere, ended...)
	if got := ownership.Merge(stored, wanted(nil), today).Conflicts; len(got) != 0 {
		t.Errorf("what has ended: %v", got)
	}
	got := ownership.Merge(stored, wanted(said("b@new.yaml")), today).Conflicts
	if len(got) != 1 || got[0].String() != "service payments: b by new.yaml:1, a by shop.yaml:1; the first counts" {
		t.Errorf("%v", got)
	}
	var many []catalog.Record
	for i := range 300 {
		for _, r := range said("a@1, b@2") {
			r.Name = fmt.Sprint("s", i)
			many = append(many, r)
		}
	}
	if got := ownership.Merge(stored, wanted(many), today).Conflicts; len(got) != 100 {
		t.Errorf("%d conflicts", len(got))
	}
}

func TestMergeKeepsBrokenFiles(t *testing.T) {
	w := wanted(said("c@2"))
	w.Keep = []string{"1", "imported"}
	stored := said("a@1, b@2, d@3")
	stored[2].By = "imported"
	got := ownership.Merge(stored, w, today)
	if words := inWords(got.Records); words != "a@1, d@3, b ..20@2, c 20..@2" {
		t.Error(words)
	}
}

func TestMergeKeepsBrokenFolders(t *testing.T) {
	w := wanted(nil)
	w.Keep = []string{"teams/pay/", "./x"}
	got := ownership.Merge(said("a@teams/pay/owners.yaml, b@teams/pay/eu/owners.yaml, c@teams/payments.yaml, d@teams/owners.yaml, e@x, f@y/x"), w, today)
	if words := inWords(got.Records); words != "b@teams/pay/eu/owners.yaml, a@teams/pay/owners.yaml, e@x, d ..20@teams/owners.yaml, c ..20@teams/payments.yaml, f ..20@y/x" {
		t.Error(words)
	}
}

// TestMergeKeepsWhatSaidLess: a record that says more than those before takes nothing of the past from them.
func TestMergeKeepsWhatSaidLess(t *testing.T) {
	service := catalog.Record{Kind: catalog.Service, Name: "pay*", Owner: "a"}
	named := func(name, owner string) catalog.Record {
		return catalog.Record{Kind: catalog.Service, Name: name, Owner: owner}
	}
	inShop := func(c catalog.Record) catalog.Record {
		c.Namespace = "shop"
		return c
	}
	edge := func(caller, callee, phase, owner, side string) catalog.Record {
		return catalog.Record{Kind: catalog.Edge, Caller: caller, Callee: callee, Phase: phase, Owner: owner, Accountable: side}
	}
	operation := catalog.Record{Kind: catalog.Operation, Name: "payments", Operation: "POST /pay/*", Owner: "b"}
	alias := named("ledger", "b")
	alias.Aliases = []string{"paymentsx"}
	since := service
	since.From = day(3)
	for _, c := range []struct {
		what         string
		stored, next catalog.Record
		q            ownership.Question
		from         int
		handover     string
	}{
		{"a pattern", service, named("paymentsx", "b"), ownership.Question{Service: "paymentsx"}, 20, "a b"},
		{"a pattern that says more", service, named("payments-*", "b"), ownership.Question{Service: "payments-eu"}, 20, "a b"},
		{"an alias", service, alias, ownership.Question{Service: "paymentsx"}, 20, ""},
		{"the same owner", service, named("paymentsx", "a"), ownership.Question{Service: "paymentsx"}, 0, ""},
		{"the same owner for some time", since, named("paymentsx", "a"), ownership.Question{Service: "paymentsx"}, 3, ""},
		{"nobody", service, named("cart", "b"), ownership.Question{Service: "payments"}, 0, ""},
		{"a record that says less", named("paymentsx", "a"), named("pay*", "b"), ownership.Question{Service: "paymentsx"}, 0, ""},
		{"for all", named("*", "a"), named("cart", "b"), ownership.Question{Service: "cart"}, 20, "a b"},
		{"a namespace", catalog.Record{Kind: catalog.Namespace, Name: "shop", Owner: "a"}, inShop(named("cart", "b")), ownership.Question{Service: "cart", Namespace: "shop"}, 20, "a b"},
		{"any namespace", named("cart", "a"), inShop(named("cart", "b")), ownership.Question{Service: "cart", Namespace: "shop"}, 20, "a b"},
		{"a namespace of all", named("*", "a"), catalog.Record{Kind: catalog.Namespace, Name: "shop", Owner: "b"}, ownership.Question{Service: "cart", Namespace: "shop"}, 20, "a b"},
		{"an operation", named("payments", "a"), operation, ownership.Question{Service: "payments", Operation: "POST /pay/card"}, 20, "a b"},
		{"an edge", edge("*", "cart", "", "a", ""), edge("shop", "cart", "pool", "b", ""), ownership.Question{Service: "shop", Callee: "cart", Phase: "pool"}, 20, "a b"},
		{"a phase", edge("shop", "cart", "network", "", "caller"), edge("shop", "cart", "connect", "", "callee"), ownership.Question{Service: "shop", Callee: "cart", Phase: "connect"}, 20, "caller callee"},
	} {
		stored := ownership.Merge(nil, wanted([]catalog.Record{c.stored}), day(1)).Records
		got := ownership.Merge(stored, wanted([]catalog.Record{c.stored, c.next}), today)
		i := slices.IndexFunc(got.Records, func(r catalog.Record) bool { return ownership.Subject(&r) == ownership.Subject(&c.next) })
		if !got.Records[i].From.Equal(day(c.from)) {
			t.Errorf("%s: it begins %v", c.what, got.Records[i].From)
		}
		before, after := ownership.Compile(stored, ownership.Config{}), ownership.Compile(got.Records, ownership.Config{})
		for _, at := range []time.Time{day(2), day(19)} {
			c.q.AtNs = at.UnixNano()
			if was, is := before.Resolve(&c.q), after.Resolve(&c.q); was.Owner != is.Owner || was.Side != is.Side {
				t.Errorf("%s: %s%s had it, and now it is said that %s%s had", c.what, was.Owner, was.Side, is.Owner, is.Side)
			}
		}
		for _, list := range [][]ownership.Handover{got.Handovers, after.Handovers(day(4), day(28))} {
			var all []string
			for _, h := range list {
				all = append(all, h.Before+" "+h.After)
			}
			if words := strings.Join(all, "; "); words != c.handover {
				t.Errorf("%s: hand-overs %q, want %q", c.what, words, c.handover)
			}
		}
		gone := ownership.Merge(got.Records, wanted([]catalog.Record{c.stored}), day(24))
		if n := len(gone.Handovers); c.handover != "" && (n != 1 || gone.Handovers[0].Before+gone.Handovers[0].After == "" || gone.Handovers[0].After == ownership.Unowned) {
			t.Errorf("%s: taken away again: %+v", c.what, gone.Handovers)
		}
		if again := ownership.Merge(got.Records, wanted([]catalog.Record{c.stored, c.next}), day(22)); again.Differs || len(again.Handovers) > 0 {
			t.Errorf("%s: the same again: %+v", c.what, again.Changes)
		}
	}
}

// TestMergeReplacesInPlace: what is said beside the owner is no hand-over, and a line that moves is no news.
func TestMergeReplacesInPlace(t *testing.T) {
	stored, next := said("a 3.."), said("a")
	next[0].Runbook, next[0].Source.Line, next[0].Kind = "https://wiki/payments", 7, catalog.Datastore
	got := ownership.Merge(stored, wanted(next), today)
	if len(got.Records) != 1 || !got.Records[0].From.Equal(day(3)) || got.Records[0].Runbook == "" || counts(got) != "+0 -0 ~1 =0" || len(got.Handovers) != 0 {
		t.Errorf("%+v", got)
	}
	next = said("a")
	next[0].Source.Line = 9
	if got = ownership.Merge(stored, wanted(next), today); counts(got) != "+0 -0 ~0 =1" || !got.Differs || got.Records[0].Source.Line != 9 {
		t.Errorf("%+v", got)
	}
}

func TestMergeKnowsTeamsByAllNames(t *testing.T) {
	team := catalog.Record{Kind: catalog.Team, Name: "team-a", Aliases: []string{"a"}, Set: "default"}
	got := ownership.Merge(append(said("a"), team), wanted(append(said("team-a"), team)), today)
	if len(got.Handovers) != 0 || got.Changed != 1 {
		t.Errorf("the same team under another name: %+v", got)
	}
}

func TestMergeForgets(t *testing.T) {
	got := ownership.Merge(said("a ..3, b 3.."), wanted(said("b")), today.AddDate(2, 0, 0))
	if words := inWords(got.Records); words != "b 3.." {
		t.Error(words)
	}
	got = ownership.Merge(said("a ..3, b 3.."), wanted(said("a ..3, b 3..")), today.AddDate(2, 0, 0))
	if words := inWords(got.Records); words != "a ..3, b 3.." {
		t.Errorf("what a file says is not forgotten: %s", words)
	}
}

// lines are those of a CODEOWNERS file: "*=a src/=b".
func lines(text string) (records []catalog.Record) {
	for i, word := range strings.Fields(text) {
		pattern, owner, _ := strings.Cut(word, "=")
		records = append(records, catalog.Record{
			Kind: catalog.Path, Pattern: pattern, Owner: owner, Set: "default",
			Source: catalog.Source{Format: "codeowners", File: "CODEOWNERS", Line: i + 1},
		})
	}
	return records
}

// TestLinesOfAFileInTime: each version of a file answers as it did, though only the lines that changed are kept twice.
func TestLinesOfAFileInTime(t *testing.T) {
	versions := []string{
		"*=a src/=b src/pay/=c",
		"doc/=d one/=x two/=x three/=x *=a src/=b src/pay/=e", // lines above, and another owner
		"*=a src/pay/=e",                                      // one is gone
		"src/=b *=z src/pay/=e",                               // back, before the others
		"src/=b src/pay/=e *=z",                               // the last takes all
		"*=a src/=b src/pay/=c *=zz",                          // the same pattern twice
	}
	paths := []string{"main.go", "src/main.go", "src/pay/main.go", "doc/x.md", "one/x"}
	var stored []catalog.Record
	for i, version := range versions {
		stored = ownership.Merge(stored, wanted(lines(version)), day(i+1)).Records
	}
	now := ownership.Compile(stored, ownership.Config{})
	for i, version := range versions {
		then := ownership.Compile(lines(version), ownership.Config{})
		for _, path := range paths {
			at := day(i + 1).Add(time.Hour)
			q := ownership.Question{Service: "s", CodePath: path, AtNs: at.UnixNano()}
			got, want := now.Resolve(&q), then.Resolve(&q)
			if got.Owner != want.Owner {
				t.Errorf("%s by version %d was %s, now it is said that it was %s", path, i+1, want.Owner, got.Owner)
			}
		}
	}
	if len(stored) > 20 {
		t.Errorf("%d lines are stored", len(stored))
	}
}

// TestACheckoutElsewhereIsTheSame: the files of a repository are known by its address, not by the folder of a build.
func TestACheckoutElsewhereIsTheSame(t *testing.T) {
	checkout := func(folder, text string) []catalog.Record {
		records := lines(text)
		for i := range records {
			records[i].Repository, records[i].Source.File = "https://code.example/shop", folder+"/CODEOWNERS"
		}
		return records
	}
	stored := ownership.Merge(nil, wanted(checkout("/build/1", "*=a src/=b")), day(1)).Records
	got := ownership.Merge(stored, wanted(checkout("/build/2", "*=a src/=c")), day(2))
	if counts(got) != "+0 -0 ~2 =0" || len(got.Records) != 3 {
		t.Errorf("%s: %+v", counts(got), got.Records)
	}
	owner := func(at time.Time) string {
		return ownership.Compile(got.Records, ownership.Config{}).Resolve(&ownership.Question{Service: "s", CodePath: "src/main.go", AtNs: at.UnixNano()}).Owner
	}
	if before, after := owner(day(1).Add(time.Hour)), owner(day(2).Add(time.Hour)); before != "b" || after != "c" {
		t.Errorf("%s and then %s", before, after)
	}
}

// TestMergeProperties applies random files one after the other.
func TestMergeProperties(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 6))
		services := []string{"payments", "checkout", "cart"}
		draw := func(dated bool) (records []catalog.Record) {
			for _, name := range services {
				for range random.IntN(3) {
					r := catalog.Record{Kind: catalog.Service, Name: name, Owner: string(rune('a' + random.IntN(3))), Set: "default"}
					r.Source = catalog.Source{Format: "whosehop", File: fmt.Sprint(random.IntN(2)), Line: random.IntN(5) + 1}
					if dated && random.IntN(2) == 0 {
						r.From = day(1 + random.IntN(28))
					}
					if dated && random.IntN(3) == 0 {
						r.Until = day(1 + random.IntN(28))
					}
					if r.Until.IsZero() || r.From.Before(r.Until) {
						records = append(records, r)
					}
				}
			}
			return records
		}
		// At first all are known: what nobody has spoken of holds for the past too.
		stored := ownership.Merge(nil, wanted(append(said("a"), catalog.Record{Kind: catalog.Service, Name: "checkout", Owner: "a"}, catalog.Record{Kind: catalog.Service, Name: "cart", Owner: "b"})), day(1)).Records
		for n := range 6 {
			now := day(4 + 4*n)
			files := draw(seed%2 == 1)
			dated := slices.ContainsFunc(files, func(r catalog.Record) bool { return !r.From.IsZero() || !r.Until.IsZero() })
			applied := ownership.Merge(stored, wanted(files), now)
			explain := func() string { return fmt.Sprintf("seed %d, apply %d: %v to %v", seed, n, stored, files) }

			if again := ownership.Merge(applied.Records, wanted(files), now.Add(time.Minute)); again.Differs || again.Added+again.Ended+again.Changed != 0 {
				t.Fatalf("%s: the same again is %s: %v and then %v", explain(), counts(again), applied.Records, again.Records)
			}
			shuffled, mixed := slices.Clone(files), slices.Clone(stored)
			random.Shuffle(len(shuffled), func(i, k int) { shuffled[i], shuffled[k] = shuffled[k], shuffled[i] })
			random.Shuffle(len(mixed), func(i, k int) { mixed[i], mixed[k] = mixed[k], mixed[i] })
			if other := ownership.Merge(stored, wanted(shuffled), now); !reflect.DeepEqual(other.Records, applied.Records) {
				t.Fatalf("%s: the order of the files' records matters: %v or %v", explain(), applied.Records, other.Records)
			}
			after := ownership.Compile(applied.Records, ownership.Config{})
			only := ownership.Compile(ownership.Merge(nil, wanted(files), now).Records, ownership.Config{})
			for _, name := range services {
				known := slices.ContainsFunc(stored, func(r catalog.Record) bool { return r.Name == name })
				for at := day(1).Add(-48 * time.Hour); at.Before(now) && known && !dated; at = at.Add(6 * time.Hour) {
					if was, is := holders(stored, name, at), holders(applied.Records, name, at); was != is {
						t.Fatalf("%s: the past of %s at %s was %q and is %q: %v", explain(), name, at, was, is, applied.Records)
					}
				}
				// Who owns it now is for the files to say, unless they only speak of other times.
				q := ownership.Question{Service: name, AtNs: now.UnixNano()}
				agree := len(only.Conflicts()) == 0
				if want, got := only.Resolve(&q), after.Resolve(&q); !dated && agree && want.Owner != got.Owner {
					t.Fatalf("%s: %s is of %s now, and the files say %s", explain(), name, got.Owner, want.Owner)
				}
			}
			for _, r := range applied.Records {
				if !r.Until.IsZero() && !r.From.Before(r.Until) {
					t.Fatalf("%s: %v holds at no time", explain(), r)
				}
			}
			stored = applied.Records
		}
	}
}

// TestMergeLeavesThePast applies random undated records that say more and less: as soon as all is somebody's, what was
// answered for the past stays so.
func TestMergeLeavesThePast(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 7))
		all := catalog.Record{Kind: catalog.Service, Name: "*", Owner: "all"}
		stored := ownership.Merge(nil, wanted([]catalog.Record{all}), day(1)).Records
		names := []string{"pay*", "payments*", "payments", "paymentsx", "cart"}
		for n := range 5 {
			files, now := []catalog.Record{all}, day(4+4*n)
			for _, name := range names {
				if random.IntN(2) == 0 {
					files = append(files, catalog.Record{Kind: catalog.Service, Name: name, Owner: string(rune('a' + random.IntN(3)))})
				}
			}
			applied := ownership.Merge(stored, wanted(files), now)
			before, after := ownership.Compile(stored, ownership.Config{}), ownership.Compile(applied.Records, ownership.Config{})
			for _, name := range []string{"pay", "payments", "paymentsx", "payments-eu", "cart", "other"} {
				for at := day(1); at.Before(now); at = at.Add(12 * time.Hour) {
					q := ownership.Question{Service: name, AtNs: at.UnixNano()}
					if was, is := before.Resolve(&q).Owner, after.Resolve(&q).Owner; was != is {
						t.Fatalf("seed %d, apply %d: %s was of %s at %s, and now it is said that it was of %s: %v to %v", seed, n, name, was, at, is, stored, files)
					}
				}
			}
			stored = applied.Records
		}
	}
}

// holders are all that records say owned a service at a time: several where files do not agree.
func holders(records []catalog.Record, name string, at time.Time) string {
	var all []string
	for _, r := range records {
		if r.Name == name && !at.Before(r.From) && (r.Until.IsZero() || at.Before(r.Until)) {
			all = append(all, r.Owner)
		}
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), ",")
}

func TestCheck(t *testing.T) {
	service := catalog.Record{Kind: catalog.Service, Name: "payments", Owner: "a"}
	with := func(change func(*catalog.Record)) catalog.Record {
		r := service
		change(&r)
		return r
	}
	for _, c := range []struct {
		what string
		set  string
		r    catalog.Record
		want string
	}{
		{"all is well", "shop/eu.1", service, ""},
		{"no set", "", service, "no name of a set"},
		{"a set with a quote", "a'b", service, "no name of a set"},
		{"no kind", "s", with(func(r *catalog.Record) { r.Kind = "" }), "no kind"},
		{"no name", "s", with(func(r *catalog.Record) { r.Name = "" }), "no name"},
		{"no callee", "s", with(func(r *catalog.Record) { r.Kind, r.Caller = catalog.Edge, "a" }), "no callee"},
		{"no pattern", "s", with(func(r *catalog.Record) { r.Kind = catalog.Path }), "no pattern"},
		{"no operation", "s", with(func(r *catalog.Record) { r.Kind = catalog.Operation }), "no operation"},
		{"accountable", "s", with(func(r *catalog.Record) { r.Accountable = "caller" }), "accountable"},
		{"a blank operation", "s", with(func(r *catalog.Record) { r.Kind, r.Operation = catalog.Operation, " " }), "no operation"},
		{"an operation of nobody", "s", with(func(r *catalog.Record) { r.Kind, r.Operation, r.Owner = catalog.Operation, "GET /", "" }), "no owner"},
		{"an edge", "s", with(func(r *catalog.Record) { r.Kind, r.Caller, r.Callee, r.Phase = catalog.Edge, "a", "b", "pool" }), ""},
		{"a side", "s", with(func(r *catalog.Record) {
			r.Kind, r.Caller, r.Callee, r.Owner, r.Accountable = catalog.Edge, "a", "b", "", "caller"
		}), ""},
		{"an edge of nobody", "s", with(func(r *catalog.Record) { r.Kind, r.Caller, r.Callee, r.Owner = catalog.Edge, "a", "b", "" }), "no owner"},
		{"an owner and a side", "s", with(func(r *catalog.Record) {
			r.Kind, r.Caller, r.Callee, r.Accountable = catalog.Edge, "a", "b", "caller"
		}), "give one of them"},
		{"a phase that is none", "s", with(func(r *catalog.Record) { r.Kind, r.Caller, r.Callee, r.Phase = catalog.Edge, "a", "b", "lunch" }), `the phase "lunch"`},
		{"a phase of a service", "s", with(func(r *catalog.Record) { r.Phase = "pool" }), "of an edge"},
		{"a long name", "s", with(func(r *catalog.Record) { r.Name = strings.Repeat("x", 1<<20) }), "more than 4096 bytes"},
		{"backwards", "s", with(func(r *catalog.Record) { r.From, r.Until = day(3), day(2) }), "ends before"},
		{"a large record", "s", with(func(r *catalog.Record) { r.Runbook = strings.Repeat("x", 500<<10) }), ""},
		{"a record that is too large", "s", with(func(r *catalog.Record) {
			r.Runbook, r.Source = strings.Repeat("x", 600<<10), catalog.Source{File: "owners.yaml", Line: 7}
		}), "owners.yaml:7: service payments has 614"},
		{"long ago", "s", with(func(r *catalog.Record) { r.From = time.Date(1234, 1, 1, 0, 0, 0, 0, time.UTC) }), "1971"},
	} {
		w := ownership.Wanted{Set: c.set, Records: []catalog.Record{c.r}}
		wrong := strings.Join(w.Check(), "; ")
		if (c.want == "") != (wrong == "") || !strings.Contains(wrong, c.want) || len(wrong) > 400 {
			t.Errorf("%s: %q", c.what, wrong)
		}
	}
	many := ownership.Wanted{Set: "s", Records: slices.Repeat([]catalog.Record{service}, 300)}
	if wrong := many.Check(); len(wrong) != 1 || !strings.Contains(wrong[0], "about the same") {
		t.Errorf("%v", wrong)
	}
	many.Records = slices.Repeat([]catalog.Record{service}, ownership.RecordsMost+1)
	if wrong := many.Check(); len(wrong) != 1 || !strings.Contains(wrong[0], "at most") {
		t.Errorf("%v", wrong)
	}
}

func BenchmarkMerge(b *testing.B) {
	var records []catalog.Record
	for i := range 60_000 {
		r := said("a")[0]
		r.Name, r.Owner = fmt.Sprint("service-", i), fmt.Sprint("team-", i%500)
		records = append(records, r)
	}
	stored := ownership.Merge(nil, wanted(records), day(1)).Records
	for b.Loop() {
		ownership.Merge(stored, wanted(records), today)
	}
}
