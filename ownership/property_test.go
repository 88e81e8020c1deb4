package ownership

import (
	"cmp"
	"flag"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/whosehop/whosehop/ownership/catalog"
)

var seed = flag.Uint64("seed", 0, "of the random records; 0 picks one")

// TestAsANaiveScan holds the compiled registry against the rule written down plainly: every record is tried, patterns are
// regular expressions, and the best by the documented order counts.
func TestAsANaiveScan(t *testing.T) {
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	rng := rand.New(rand.NewPCG(*seed, 1))
	rules := make(map[Rule]int)
	for range 1000 {
		records := randomRecords(rng, 1+rng.IntN(60))
		r := Compile(records, settings)
		shuffled := slices.Clone(records)
		rng.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		again := Compile(shuffled, settings)
		if a, b := fmt.Sprint(r.Conflicts()), fmt.Sprint(again.Conflicts()); a != b {
			t.Fatalf("-seed %d: conflicts depend on the order of records:\n%s\n%s", *seed, a, b)
		}
		for range 100 {
			q := randomQuestion(rng)
			got, want := r.Resolve(&q), naive(records, settings, &q)
			if got.Owner != want.Owner || got.Rule != want.Rule || got.Side != want.Side {
				t.Fatalf("-seed %d: %+v\n got %+v by %v\nwant %+v by %v", *seed, q, got, got.Record, want, want.Record)
			}
			if other := again.Resolve(&q); other.Owner != got.Owner || other.Rule != got.Rule || other.Side != got.Side {
				t.Fatalf("-seed %d: %+v: in another order %+v, not %+v", *seed, q, other, got)
			}
			rules[got.Rule]++
		}
	}
	for _, rule := range []Rule{ByEdge, ByOperation, ByService, ByAttribute, ByNamespace, ByCatchAll, ByNobody} {
		if rules[rule] < 100 {
			t.Errorf("-seed %d: only %d answers by %s", *seed, rules[rule], rule)
		}
	}
}

func pick[T any](rng *rand.Rand, from ...T) T { return from[rng.IntN(len(from))] }

func randomName(rng *rand.Rand) string {
	return pick(rng, "a", "ab", "abc", "b", "bé", "bc", "a*", "*c", "a?", "?b*", "*b*", "a*c", "**", "*", "ab**", "*?", "b??")
}

func randomTimes(rng *rand.Rand) (begins, ends time.Time) {
	if rng.IntN(3) == 0 {
		begins = day(time.Month(1+rng.IntN(6)), 1)
	}
	if rng.IntN(3) == 0 {
		ends = day(time.Month(2+rng.IntN(6)), 1)
	}
	return begins, ends
}

func randomRecords(rng *rand.Rand, n int) (records []catalog.Record) {
	for i := range n {
		c := catalog.Record{
			Kind:  pick(rng, catalog.Service, catalog.Service, catalog.Service, catalog.Datastore, catalog.Operation, catalog.Edge, catalog.Edge, catalog.Namespace, catalog.Team, catalog.API),
			Owner: pick(rng, "t1", "T1", "t2", "alias", Unowned, "", "t3"), Source: from(pick(rng, "whosehop", "backstage", "other"), pick(rng, "f", "g"), i+1),
		}
		c.From, c.Until = randomTimes(rng)
		switch c.Kind {
		case catalog.Team:
			c.Name = pick(rng, "t1", "t2", "t4")
			c.Aliases = pick(rng, nil, []string{"alias"}, []string{"T2"})
			c.Owner = ""
		case catalog.Edge:
			c.Caller, c.Callee, c.Phase = randomName(rng), randomName(rng), pick(rng, "", "network", "connect", "budget", "backoff", "pool")
			if c.Owner == "" {
				c.Accountable = pick(rng, "", Caller, Callee)
			}
		case catalog.Operation:
			c.Name, c.Operation = pick(rng, randomName(rng), ""), randomName(rng)
		default:
			c.Name = randomName(rng)
			if rng.IntN(4) == 0 {
				c.Aliases = []string{randomName(rng), pick(rng, "x", "y", randomName(rng))}
			}
		}
		if rng.IntN(3) == 0 && c.Kind != catalog.Namespace {
			c.Namespace = pick(rng, "n", "m", "n*")
		}
		if rng.IntN(4) == 0 {
			c.Environment = pick(rng, "prod", "p*")
		}
		records = append(records, c)
	}
	return records
}

func randomQuestion(rng *rand.Rand) Question {
	name := func() string { return pick(rng, "a", "ab", "abc", "b", "bé", "bc", "x", "y", "abcc", "zz", "") }
	q := Question{
		Service: name(), Namespace: pick(rng, "", "", "n", "m", "nn", "k"), Environment: pick(rng, "", "", "prod", "pre", "dev"),
		AtNs: day(time.Month(1+rng.IntN(8)), pick(rng, 1, 2)).UnixNano(),
	}
	switch rng.IntN(3) {
	case 0:
		q.Callee, q.Phase = cmp.Or(name(), "a"), pick(rng, "", "connect", "budget", "backoff", "pool", "queue", "network")
	case 1:
		q.Operation = name()
	}
	switch rng.IntN(5) {
	case 0:
		q.Attr = with("team", pick(rng, "t1", "ALIAS", "other"))
	case 1:
		q.Attr = with("service.namespace", q.Namespace, "k8s.namespace.name", pick(rng, "n", "k"))
	}
	return q
}

// naive is the rule of docs/owners.md, without any index.
func naive(records []catalog.Record, cfg Config, q *Question) Answer {
	n := naiveScan{records: records, cfg: cfg, q: q}
	if q.Callee != "" {
		return n.best(ByEdge, func(c *catalog.Record) [][]string {
			if c.Kind == catalog.Edge {
				return n.crossed(c.Caller, c.Callee, n.called(q.Service), n.called(q.Callee))
			}
			return nil
		}, Answer{Owner: Unowned, Rule: ByNobody})
	}
	found := Answer{}
	if q.Operation != "" {
		found = n.best(ByOperation, func(c *catalog.Record) [][]string {
			if c.Kind == catalog.Operation {
				return n.crossed(cmp.Or(c.Name, "*"), c.Operation, n.called(q.Service), []string{q.Operation})
			}
			return nil
		}, Answer{})
	}
	if found.Rule == "" {
		found = n.service()
	}
	if found.Rule != "" {
		return found
	}
	namespace := n.namespace()
	for _, key := range cfg.Attributes {
		if v := n.attr(key); v != "" {
			if key == "service.namespace" && namespace.Rule != "" {
				return namespace
			}
			return Answer{Owner: n.team(v), Rule: ByAttribute}
		}
	}
	if namespace.Rule != "" {
		return namespace
	}
	return n.best(ByCatchAll, func(c *catalog.Record) [][]string {
		if isService(c.Kind) && c.Namespace == "" && slices.ContainsFunc(namesOf(c), onlyStars) {
			return [][]string{{"*"}}
		}
		return nil
	}, Answer{Owner: Unowned, Rule: ByNobody})
}

type naiveScan struct {
	records []catalog.Record
	cfg     Config
	q       *Question
}

func namesOf(c *catalog.Record) []string { return append([]string{c.Name}, c.Aliases...) }

func onlyStars(name string) bool { return name != "" && strings.Trim(name, "*") == "" }

func wild(pattern string) bool { return strings.ContainsAny(pattern, "*?") }

// expression is what a pattern means.
func expression(pattern string) *regexp.Regexp {
	text := strings.ReplaceAll(strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, `.*`), `\?`, `.`)
	return regexp.MustCompile(`(?s)\A` + text + `\z`)
}

// expressions are those of the patterns of the random records, of which there are few.
var expressions = make(map[string]*regexp.Regexp)

func matches(pattern, name string) bool {
	if expressions[pattern] == nil {
		expressions[pattern] = expression(pattern)
	}
	return expressions[pattern].MatchString(name)
}

func (n *naiveScan) attr(key string) string {
	if n.q.Attr == nil {
		return ""
	}
	v, _ := n.q.Attr(key)
	return v
}

// called are the names of a service: the one given, and that of the only one which goes by it.
func (n *naiveScan) called(name string) []string {
	others := make(map[string]bool)
	for i := range n.records {
		c := &n.records[i]
		if !isService(c.Kind) {
			continue
		}
		if c.Name == name {
			return []string{name}
		}
		if slices.Contains(c.Aliases, name) {
			others[c.Name] = true
		}
	}
	names := []string{name}
	if len(others) == 1 {
		for other := range others {
			names = append(names, other)
		}
	}
	return names
}

// crossed are the patterns of a record, if they fit one of the names each.
func (n *naiveScan) crossed(first, second string, firsts, seconds []string) [][]string {
	for _, a := range firsts {
		for _, b := range seconds {
			if matches(first, a) && matches(second, b) && second != "" {
				return [][]string{{first, second}}
			}
		}
	}
	return nil
}

func (n *naiveScan) inNamespace(c *catalog.Record) bool {
	return c.Namespace == "" || matches(c.Namespace, n.q.Namespace) || matches(c.Namespace, n.attr("k8s.namespace.name"))
}

func holdsAt(c *catalog.Record, ns int64) bool {
	return c.From.UnixNano() <= ns && (c.Until.IsZero() || ns < c.Until.UnixNano()) || c.From.IsZero() && (c.Until.IsZero() || ns < c.Until.UnixNano())
}

func (n *naiveScan) speaks(c *catalog.Record) bool {
	q := n.q
	phases := map[string][]string{"network": {"connect", "request", "response"}, "budget": {"backoff"}}
	return (c.Owner != "" || c.Accountable != "") && n.inNamespace(c) && (c.Environment == "" || matches(c.Environment, q.Environment)) &&
		(c.Phase == "" || c.Phase == q.Phase || slices.Contains(phases[c.Phase], q.Phase)) && holdsAt(c, q.AtNs)
}

// key is what records are ordered by: the largest counts. Patterns are those that fit.
func (n *naiveScan) key(c *catalog.Record, patterns []string, asNamespace bool) []int64 {
	one := func(yes bool) int64 {
		if yes {
			return 1
		}
		return 0
	}
	scope := func(pattern string) int64 { return one(pattern != "") * (1 + one(!wild(pattern))) }
	exact, literal := int64(0), 0
	for _, p := range patterns {
		exact += one(!wild(p))
		literal += 2*len(strings.ReplaceAll(strings.ReplaceAll(p, "*", ""), "?", "")) + strings.Count(p, "?")
	}
	rank := slices.Index(n.cfg.Precedence, c.Source.Format)
	if rank < 0 {
		rank = len(n.cfg.Precedence)
	}
	namespace := scope(c.Namespace)
	if asNamespace {
		namespace = 0
	}
	phase := scope(c.Phase) - one(c.Phase == "network" || c.Phase == "budget")
	return []int64{
		exact, one(!wild(patterns[0])), int64(literal), namespace, scope(c.Environment), phase, -int64(rank), c.From.Unix(), -int64(c.Source.File[0]), -int64(c.Source.Line),
	}
}

// best is what the best record says of those of which patterns fit.
func (n *naiveScan) best(rule Rule, fitting func(*catalog.Record) [][]string, otherwise Answer) Answer {
	var found *catalog.Record
	var key []int64
	for i := range n.records {
		c := &n.records[i]
		for _, patterns := range fitting(c) {
			if !n.speaks(c) {
				continue
			}
			if k := n.key(c, patterns, rule == ByNamespace); found == nil || slices.Compare(k, key) > 0 {
				found, key = c, k
			}
		}
	}
	if found == nil {
		return otherwise
	}
	if found.Owner == "" {
		return Answer{Side: found.Accountable, Rule: rule, Record: found}
	}
	return Answer{Owner: n.team(found.Owner), Rule: rule, Record: found}
}

func (n *naiveScan) service() Answer {
	named := func(exactly bool) Answer {
		return n.best(ByService, func(c *catalog.Record) (all [][]string) {
			for _, name := range namesOf(c) {
				if isService(c.Kind) && !onlyStars(name) && wild(name) != exactly && matches(name, n.q.Service) && name != "" {
					all = append(all, []string{name})
				}
			}
			return all
		}, Answer{})
	}
	if found := named(true); found.Rule != "" {
		return found
	}
	// What is not known is taken to fit, where all that could be meant have one owner. Of what is said of the same, one counts.
	q := n.q
	type scope struct{ namespace, environment string }
	saying, keys := make(map[scope]*catalog.Record), make(map[scope][]int64)
	for i := range n.records {
		c := &n.records[i]
		known := (q.Namespace == "" && n.attr("k8s.namespace.name") == "" || n.inNamespace(c)) && (q.Environment == "" || c.Environment == "" || matches(c.Environment, q.Environment))
		if isService(c.Kind) && c.Owner != "" && slices.Contains(namesOf(c), q.Service) && known && holdsAt(c, q.AtNs) {
			at := scope{c.Namespace, c.Environment}
			if k := n.key(c, []string{q.Service}, false); saying[at] == nil || slices.Compare(k, keys[at]) > 0 {
				saying[at], keys[at] = c, k
			}
		}
	}
	owners := make(map[string]bool)
	for _, c := range saying {
		owners[n.team(c.Owner)] = true
	}
	if len(owners) == 1 && q.Service != "" {
		for owner := range owners {
			return Answer{Owner: owner, Rule: ByService}
		}
	}
	return named(false)
}

func (n *naiveScan) namespace() Answer {
	for _, name := range []string{n.q.Namespace, n.attr("k8s.namespace.name")} {
		found := n.best(ByNamespace, func(c *catalog.Record) [][]string {
			switch {
			case name == "":
			case c.Kind == catalog.Namespace && matches(c.Name, name):
				return [][]string{{c.Name}}
			case isService(c.Kind) && c.Namespace != "" && slices.ContainsFunc(namesOf(c), onlyStars) && matches(c.Namespace, name):
				return [][]string{{c.Namespace}}
			}
			return nil
		}, Answer{})
		if found.Rule != "" {
			return found
		}
	}
	return Answer{}
}

func (n *naiveScan) team(name string) string {
	var all []*catalog.Record
	for i := range n.records {
		if c := &n.records[i]; c.Kind == catalog.Team && slices.ContainsFunc(namesOf(c), func(s string) bool { return strings.EqualFold(s, name) }) {
			all = append(all, c)
		}
	}
	if len(all) == 0 {
		return name
	}
	slices.SortFunc(all, func(a, b *catalog.Record) int {
		own := func(c *catalog.Record) int64 {
			if strings.EqualFold(c.Name, name) {
				return 1
			}
			return 0
		}
		return slices.Compare(append([]int64{own(b)}, n.key(b, []string{"-"}, true)[6:]...), append([]int64{own(a)}, n.key(a, []string{"-"}, true)[6:]...))
	})
	for _, c := range all {
		if holdsAt(c, n.q.AtNs) {
			return c.Name
		}
	}
	return all[0].Name
}

// FuzzFits holds the matching of patterns against regular expressions.
func FuzzFits(f *testing.F) {
	for _, s := range [][2]string{{"a*b", "axxb"}, {"*", ""}, {"?", "é"}, {"**a?*", "bab"}, {"a*a*a", "aaaa"}, {"a?é*", "abécd"}, {"\xff?", "\xff\xff"}, {"*\xa9", "é"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if len(pattern) > 100 || len(name) > 1000 {
			return
		}
		// Regular expressions take bytes that are no UTF-8 for one and the same character.
		pattern, name = strings.ToValidUTF8(pattern, "-"), strings.ToValidUTF8(name, "-")
		if got, want := fits(pattern, name), expression(pattern).MatchString(name); got != want {
			t.Errorf("fits(%q, %q) = %v", pattern, name, got)
		}
		if got := fits(plain(pattern), name); got != fits(pattern, name) {
			t.Errorf("%q as %q: %v", pattern, plain(pattern), got)
		}
		var x patterns[bool]
		*x.at(pattern) = true
		found := x.exact[name] != nil
		x.eachPattern(name, func(*bool) { found = true })
		if want := expression(pattern).MatchString(name); found != want {
			t.Errorf("%q is found for %q: %v", pattern, name, found)
		}
	})
}
