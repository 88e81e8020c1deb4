package rank

import (
	"fmt"
	"math"
	"math/bits"
	"slices"

	"github.com/whosehop/whosehop/verdict"
)

const (
	// standardErrors is how many standard errors a difference must exceed to count in full.
	standardErrors = 2
	// unsureWeight is what a difference within that counts, so that it still ranks behind all others.
	unsureWeight = 0.1
	// resolutionNs is the least spread of a time that is believed: clocks are not finer.
	resolutionNs = 100_000
	// senderPrior is how likely a slow leg of a call is its sender's doing, where nothing else is known:
	// packets wait where they leave.
	senderPrior = 0.7
	// partnerFloor keeps some doubt where all other edges of a side are as fast as ever.
	partnerFloor = 0.05
	// sampleMin is how often something must have been seen before to be compared with, invariantMin
	// for it to be said to be always so.
	sampleMin    = 2
	invariantMin = 5
	// alwaysShare is what share of an operation's runs has a call that is always there.
	alwaysShare = 0.95
	// surprise is the log-likelihood ratio above which a count is not chance: one in four hundred.
	surprise = 6
)

// scores is what the traces that are not explained yet say of each service.
type scores struct {
	r     *Ranker
	total map[string]float64
	names []string // of total, sorted
	parts []part
}

// part is what one component adds to a service's score.
type part struct {
	service string
	comp    int32
	score   float64
	// share of the component's excess that is the service's, with times; 0 with counts.
	share float64
	why   string
}

// score looks at the traces that are not explained, for suspects that are not named yet.
func (r *Ranker) score(explained []bool, named map[string]bool) *scores {
	s := &scores{r: r, total: make(map[string]float64)}
	window := make([]moments, len(r.comps))
	if !slices.Contains(explained, false) {
		return s
	}
	traces := len(explained)
	for _, o := range r.window {
		if !explained[o.trace] {
			window[o.comp].add(o.ns)
		}
	}
	s.times(window, traces, named)
	s.structure(window, traces)
	s.votes(window, traces)
	slices.SortStableFunc(s.parts, func(a, b part) int {
		switch {
		case a.score > b.score:
			return -1
		case a.score < b.score:
			return 1
		}
		return 0
	})
	for name := range s.total {
		s.names = append(s.names, name)
	}
	slices.Sort(s.names)
	return s
}

func (s *scores) add(service string, comp int32, score, share float64, why string) {
	if score <= 0 {
		return
	}
	s.total[service] += score
	s.parts = append(s.parts, part{service, comp, score, share, why})
}

// over is how much longer an observation of the window takes than a normal one, in nanoseconds: sure
// is what lies beyond chance, raw the plain difference.
func over(base, window *moments) (sure, raw float64) {
	const least = resolutionNs * resolutionNs
	raw = window.mean() - base.mean()
	chance := standardErrors * math.Sqrt((base.variance()+least)/float64(base.n)+(window.variance()+least)/float64(window.n))
	switch {
	case raw > chance:
		sure = raw - chance
	case raw < -chance:
		sure = raw + chance
	}
	return sure, raw
}

type edge struct {
	leg            kind
	caller, callee string
	n              int64
	sure, raw      float64 // sums over the edge's operations
	comp           int32   // the operation that adds most
	most           float64
}

// times scores what takes longer: operations and peers at once, legs after asking the other edges of
// their two sides.
func (s *scores) times(window []moments, traces int, named map[string]bool) {
	normalNs := max(1e6, s.r.normal.mean()) * float64(traces)
	var edges []edge
	at := make(map[[3]string]int)
	for _, id := range s.r.order {
		c, base, now := &s.r.comps[id], &s.r.base[id], &window[id]
		if c.kind > kindResponse || base.n < sampleMin || now.n == 0 {
			continue
		}
		sure, raw := over(base, now)
		sure, raw = sure*float64(now.n), raw*float64(now.n)
		if c.kind == kindSelf || c.kind == kindPeer {
			service := c.service
			what := service + " " + c.operation + " itself"
			if c.kind == kindPeer && c.other != "" {
				service, what = c.other, "calls of "+c.service+" to "+c.other
			}
			s.add(service, id, (max(0, sure)+unsureWeight*max(0, raw))/normalNs, 1,
				fmt.Sprintf("%s took %s on average, normal is %s", what, took(now.mean()), took(base.mean())))
			continue
		}
		key := [3]string{string('0' + rune(c.kind)), c.service, c.other}
		k, ok := at[key]
		if !ok {
			k = len(edges)
			at[key] = k
			edges = append(edges, edge{leg: c.kind, caller: c.service, callee: c.other})
		}
		e := &edges[k]
		e.n += now.n
		e.sure += sure
		e.raw += raw
		if raw > e.most || e.n == now.n {
			e.most, e.comp = raw, id
		}
	}
	for k := range edges {
		e := &edges[k]
		if e.raw <= 0 {
			continue
		}
		// Whose leg? Gap tomography: a slow side shows on its other edges as well.
		caller := senderPrior
		if e.leg == kindResponse {
			caller = 1 - senderPrior
		}
		ofCaller := caller * partners(edges, k, func(o *edge) bool { return o.caller == e.caller })
		ofCallee := (1 - caller) * partners(edges, k, func(o *edge) bool { return o.callee == e.callee })
		share := ofCaller / (ofCaller + ofCallee)
		if share >= 0.5 && named[e.caller] || share < 0.5 && named[e.callee] {
			continue // explained: the other side was only the alternative
		}
		score := (max(0, e.sure) + unsureWeight*e.raw) / normalNs
		leg := "before it began"
		if e.leg == kindResponse {
			leg = "after it had ended"
		}
		why := fmt.Sprintf("calls of %s to %s lost %s each %s", e.caller, e.callee, took(e.raw/float64(e.n)), leg)
		s.add(e.caller, e.comp, score*share, share, why)
		s.add(e.callee, e.comp, score*(1-share), 1-share, why)
	}
}

// partners is how far the other edges of one side are slow as well, from partnerFloor to 1; one half
// where there are none.
func partners(edges []edge, self int, beside func(*edge) bool) float64 {
	e := &edges[self]
	mean := e.raw / float64(e.n)
	sum, count := 0.0, 0
	for k := range edges {
		if o := &edges[k]; k != self && o.leg == e.leg && beside(o) {
			count++
			sum += min(1, max(0, o.raw/float64(o.n)/mean))
		}
	}
	if count == 0 {
		return 0.5
	}
	return partnerFloor + (1-partnerFloor)*sum/float64(count)
}

// structure scores broken invariants: an operation that breaks off before what it always does. Where
// operations of several services break off after one and the same call, that callee is to blame.
func (s *scores) structure(window []moments, traces int) {
	type broken struct {
		runs  int32
		share float64 // of the runs
		child int32
	}
	worst := make(map[[2]string]broken)
	for _, id := range s.r.order {
		c := &s.r.comps[id]
		if c.kind != kindChild {
			continue
		}
		runs, ok := s.r.ids[component{kind: kindRuns, service: c.service, operation: c.operation}]
		if !ok {
			continue
		}
		n0, n1 := s.r.base[runs].n, window[runs].n
		if n0 < invariantMin || n1 < 2 || window[runs].mean() >= s.r.base[runs].mean() {
			continue
		}
		before, now := float64(s.r.base[id].n)/float64(n0), float64(window[id].n)/float64(n1)
		if before < alwaysShare || now >= before {
			continue
		}
		expected := max(1/float64(n0+2), 1-before) * float64(n1)
		if poisson((before-now)*float64(n1), expected) < surprise {
			continue
		}
		key := [2]string{c.service, c.operation}
		if w, ok := worst[key]; !ok || before-now > w.share || before-now == w.share && s.less(id, w.child) {
			worst[key] = broken{runs, before - now, id}
		}
	}
	keys := make([][2]string, 0, len(worst))
	for key := range worst {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b [2]string) int { return slices.Compare(a[:], b[:]) })
	// After which call do they break off?
	after := make(map[[2]string][]string) // callee and its operation: the services that break off after it
	last := make(map[[2]string][2]string)
	for _, key := range keys {
		if callee, ok := s.brokenAfter(window, key); ok {
			last[key] = callee
			if !slices.Contains(after[callee], key[0]) {
				after[callee] = append(after[callee], key[0])
			}
		}
	}
	for _, key := range keys {
		w := worst[key]
		n := float64(window[w.runs].n)
		score := w.share * n / float64(traces)
		why := fmt.Sprintf("%s %s breaks off: %.0f %% of its runs lack %s, which is always there", key[0], key[1], 100*w.share, s.r.comps[w.child].child)
		service := key[0]
		if callee, ok := last[key]; ok && len(after[callee]) > 1 && callee[0] != "" {
			service = callee[0]
			why += fmt.Sprintf(", after its call of %s; so do others", callee[1])
		}
		s.add(service, w.child, score, 0, why)
	}
}

func (s *scores) less(a, b int32) bool {
	x, y := &s.r.comps[a], &s.r.comps[b]
	return x.other+"\x00"+x.child < y.other+"\x00"+y.child
}

// brokenAfter is the call that became the last one of the most runs.
func (s *scores) brokenAfter(window []moments, key [2]string) (callee [2]string, ok bool) {
	runs := s.r.ids[component{kind: kindRuns, service: key[0], operation: key[1]}]
	most := 0.0
	for _, id := range s.r.order {
		c := &s.r.comps[id]
		if c.kind != kindLast || c.service != key[0] || c.operation != key[1] {
			continue
		}
		rise := float64(window[id].n)/float64(window[runs].n) - float64(s.r.base[id].n)/float64(s.r.base[runs].n)
		if name := [2]string{c.other, c.child}; rise > most || rise == most && ok && slices.Compare(name[:], callee[:]) < 0 {
			most, callee, ok = rise, name, true
		}
	}
	return callee, ok && most > 0
}

// votes scores the verdicts that blame a service for an error, beyond those that it always had.
func (s *scores) votes(window []moments, traces int) {
	for _, id := range s.r.order {
		c := &s.r.comps[id]
		if c.kind != kindVote || window[id].n == 0 {
			continue
		}
		usual := 0.0
		if runs, ok := s.r.ids[component{kind: kindRuns, service: c.other, operation: c.operation}]; ok && s.r.base[runs].n > 0 {
			usual = float64(s.r.base[id].n) / float64(s.r.base[runs].n) * float64(window[runs].n)
		}
		n := float64(window[id].n)
		if n <= usual {
			continue
		}
		score := (n - usual) / float64(traces)
		// One error where there was none before is as good as it gets with a single trace.
		if poisson(n, max(usual, 0.5)) < surprise && traces > 10 {
			score *= unsureWeight
		}
		why := fmt.Sprintf("%d of %d requests failed by %s", window[id].n, traces, c.child)
		if usual > 0 {
			why += fmt.Sprintf(", normally %.1f", usual)
		}
		s.add(c.service, id, score, 0, why)
	}
}

// poisson is the log-likelihood ratio of a count against the one that is expected, 0 if it is no more.
func poisson(count, expected float64) float64 {
	if count <= expected {
		return 0
	}
	return count*math.Log(count/expected) - count + expected
}

// best is the service with the highest score that is not named yet, empty without any.
func (s *scores) best(named map[string]bool) string {
	best := ""
	for _, name := range s.names {
		if !named[name] && (best == "" || s.total[name] > s.total[best]) {
			best = name
		}
	}
	return best
}

// leading is the component that adds most to a service's score.
func (s *scores) leading(service string) (comp int32, why string) {
	for k := range s.parts {
		if s.parts[k].service == service {
			return s.parts[k].comp, s.parts[k].why
		}
	}
	return -1, ""
}

// explains says of every trace of the window how much of its trouble is the service's: mine of all, in
// nanoseconds. A request that failed or broke off counts as one of normal length.
func (s *scores) explains(service string) (mine, all []float64) {
	mine, all = make([]float64, len(s.r.traces)), make([]float64, len(s.r.traces))
	type claim struct{ mine, all float64 }
	claims := make(map[int32]claim)
	normalNs := max(1e6, s.r.normal.mean())
	for k := range s.parts {
		p := &s.parts[k]
		c := claims[p.comp]
		weight := p.share
		if weight == 0 {
			weight = normalNs
		}
		c.all += weight
		if p.service == service {
			c.mine += weight
		}
		comp := p.comp
		if s.r.comps[comp].kind == kindChild {
			// What is missing leaves no observation: the shorter runs of its operation do.
			of := s.r.comps[comp]
			comp = s.r.ids[component{kind: kindRuns, service: of.service, operation: of.operation}]
		}
		claims[comp] = c
	}
	for _, o := range s.r.window {
		c, ok := claims[o.comp]
		if !ok {
			continue
		}
		size := 1.0
		switch base := s.r.base[o.comp].mean(); s.r.comps[o.comp].kind {
		case kindVote:
		case kindRuns:
			if float64(o.ns) > base-0.5 {
				continue
			}
		default:
			size = max(0, float64(o.ns)-base)
		}
		mine[o.trace] += size * c.mine
		all[o.trace] += size * c.all
	}
	return mine, all
}

func took(ns float64) string { return verdict.Took(int64(ns)) }

// uint128 is a sum of squares: exact, so that the order of adding does not matter.
type uint128 struct{ high, low uint64 }

func (u *uint128) addSquare(x uint64) {
	high, low := bits.Mul64(x, x)
	var carry uint64
	u.low, carry = bits.Add64(u.low, low, 0)
	u.high, _ = bits.Add64(u.high, high, carry)
}

func (u *uint128) float() float64 { return float64(u.high)*(1<<64) + float64(u.low) }
