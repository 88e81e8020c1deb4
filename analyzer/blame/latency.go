package blame

import (
	"cmp"
	"math/bits"
	"slices"
	"strings"

	"github.com/whosehop/whosehop/analyzer/baseline"
	"github.com/whosehop/whosehop/analyzer/trace"
	"github.com/whosehop/whosehop/storage/spans"
	"github.com/whosehop/whosehop/verdict"
)

// Blame for latency: what an operation took beyond its normal, or its SLO, is handed down the critical path, to
// the operation itself, to calls that it made too often, to gaps and waits, and into its callees. At
// every operation the parts sum to what is handed down, in whole nanoseconds. See docs/blame.md.

// excessOf is what an operation took beyond its normal, or else beyond its SLO.
func (t *trial) excessOf(i int32) (ns int64, bySLO bool) {
	if ns := t.beyondNormal(i); ns > 0 {
		return ns, false
	}
	ns = t.beyondSLO(i)
	return ns, ns > 0
}

// beyondSLO is what an operation took beyond its SLO, 0 where it kept to it or has none.
func (t *trial) beyondSLO(i int32) int64 {
	sloNs := t.sloOf(i)
	if sloNs == 0 {
		return 0
	}
	return max(0, t.f.Nodes[i].DurationNs()-sloNs)
}

// sloOf is the SLO of an operation, 0 where it has none.
func (t *trial) sloOf(i int32) int64 {
	if len(t.cfg.SLO) == 0 {
		return 0
	}
	name := t.f.Nodes[i].Name
	t.entryName = append(append(append(t.entryName[:0], t.f.ServiceOf(i).Name...), ' '), name...)
	if ns, ok := t.cfg.SLO[string(t.entryName)]; ok {
		return ns
	}
	return t.cfg.SLO[name]
}

// beyondNormal is what an operation took beyond its normal mean, if that is more than chance: 0 otherwise.
func (t *trial) beyondNormal(i int32) int64 {
	n := &t.f.Nodes[i]
	normal := t.cfg.Normal.Operation(t.f.ServiceOf(i).Name, n.Name)
	if normal == nil || n.NoDuration || n.Phantom() {
		return 0
	}
	tookNs, meanNs := n.DurationNs(), normal.MeanNs()
	highNs := normal.HighNs()
	leastNs := max(excessMinNs, meanNs/5)
	if n.Kind == spans.KindConsumer {
		leastNs = max(leastNs, nobodyWaitsNs)
	}
	if tookNs <= highNs+highNs/5 || tookNs-meanNs < leastNs {
		return 0
	}
	return tookNs - meanNs
}

const (
	// excessMinNs is what nobody notices.
	excessMinNs = 5_000_000
	// nobodyWaitsNs is the same for work behind a queue.
	nobodyWaitsNs = 50_000_000
)

// latency finds who made the tree of an entry slow: the entry itself, and what ran behind it.
func (t *trial) latency(entry int32) []finding {
	t.overSLO = trace.None
	findings := t.tooLong(entry)
	for _, i := range t.order {
		if t.f.Nodes[i].Kind != spans.KindConsumer || i == entry || t.outcome[i].Failed() {
			continue
		}
		if f, ok := t.queued(i); ok {
			findings = append(findings, f)
		}
		findings = append(findings, t.tooLong(i)...)
	}
	return findings
}

// tooLong finds who made one operation slow, if it is: an entry, or a consumer.
func (t *trial) tooLong(i int32) []finding {
	excessNs, bySLO := t.excessOf(i)
	if t.cfg.Explain && t.f.Nodes[i].Parent == trace.None {
		t.toldLatency(i, excessNs)
	}
	if excessNs == 0 {
		return nil
	}
	findings := t.spread(i, excessNs, spreading{failures: true, bySLO: bySLO})
	if t.beyondSLO(i) > 0 {
		if t.overSLO == trace.None {
			t.overSLO = i
		}
		findings[0].evidence = append(findings[0].evidence, t.sloWords(i))
	}
	return findings
}

// queued: the message waited for its consumer longer than usual.
func (t *trial) queued(consumer int32) (finding, bool) {
	producer := t.f.Nodes[consumer].Parent
	if producer == trace.None || t.f.Nodes[producer].Kind != spans.KindProducer {
		return finding{}, false
	}
	p, c := &t.f.Nodes[producer], &t.f.Nodes[consumer]
	normal := t.cfg.Normal.Queue(t.f.ServiceOf(producer).Name, t.f.ServiceOf(consumer).Name, p.Name)
	waitedNs := c.StartNs - p.EndNs
	if normal == nil || waitedNs <= 2*normal.QuantileNs(0.99) || waitedNs-normal.MeanNs() < nobodyWaitsNs {
		return finding{}, false
	}
	f := t.base(producer, "queue", 0.8)
	f.site = verdict.Site{Kind: verdict.SiteEdge, Caller: t.serviceName(producer), Callee: t.serviceName(consumer), Phase: verdict.PhaseQueue}
	f.accountable, f.service = t.serviceName(consumer), c.Service
	f.nodes = []int32{producer, consumer}
	f.excessNs = waitedNs - normal.MeanNs()
	f.summary = t.sprintf("the message waited %s in the queue, normal is %s", t.took(waitedNs), t.took(normal.QuantileNs(0.5)))
	f.evidence = t.lines(f.summary, t.sprintf("%s then handled it in %s", t.operationWords(consumer), t.took(c.DurationNs())))
	f.runnerUp = t.candidate(t.serviceSite(consumer), 0.1)
	return f, true
}

// portion is time that is still to be explained, at a node that took it.
type portion struct {
	node int32
	ns   int64
}

// term is one reason why an operation took longer; ns is its raw size, and later its part.
type term struct {
	ns    int64
	kind  termKind
	call  int32 // the call that it is about
	count int   // of calls, with termCalls
	usual float64
}

type termKind uint8

const (
	termSelf    termKind = iota // the operation's own work
	termCalls                   // a call that it made more often than usual
	termBackoff                 // waiting between two attempts
	termPool                    // waiting before the calls to one callee
	termCall                    // a call that took longer
)

// spreading is how an excess is handed down.
type spreading struct {
	// failures: the time of calls that failed belongs to what made them fail, and not to where it was spent.
	failures bool
	// bySLO: the excess is one over an SLO, which may be less than what is normal.
	bySLO bool
}

// spread hands an operation's excess down to those that made it. It walks with a stack of its own.
func (t *trial) spread(node int32, excessNs int64, how spreading) []finding {
	var findings []finding
	stack := []portion{{node, excessNs}}
	for len(stack) > 0 {
		at := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		t.onPath[at.node] = true
		normal, first := t.cfg.Normal, len(findings)
		spent := how.bySLO && !t.grewBy(at.node, at.ns)
		if spent {
			normal = nil // it takes as long as ever, or nobody knows: what counts is where the time goes
		}
		terms := t.terms(at.node, normal)
		t.termList = nil // a failed call below may need a list of its own
		share(at.ns, terms)
		if t.cfg.Explain {
			t.toldTerms(at.node, at.ns, terms)
		}
		for k := range terms {
			m := &terms[k]
			switch {
			case m.ns <= 0:
			case m.kind == termCall && how.failures && t.outcome[m.call].Failed() && t.outcome[m.call].Class != "CANCELLED":
				t.onPath[m.call] = true
				findings = append(findings, t.failedTime(m.call, m.ns)...)
			case m.kind == termCall:
				deeper, found := t.intoCall(m.call, m.ns, normal)
				findings = append(findings, found...)
				stack = append(stack, deeper...)
			default:
				findings = append(findings, t.ownTime(at.node, m, spent))
			}
		}
		t.termList = terms
		if spent {
			for k := range findings[first:] {
				findings[first+k].confidence *= spentNotGrown
			}
		}
	}
	return mergeSites(findings)
}

// spentNotGrown is how much less sure it is who is to blame for time of which it is not known that it is more than usual:
// as slowInside has it, 0.6 for an operation's own time.
const spentNotGrown = 0.75

// grewBy: most of an excess is what the operation took beyond its normal mean.
func (t *trial) grewBy(i int32, excessNs int64) bool {
	n := &t.f.Nodes[i]
	normal := t.cfg.Normal.Operation(t.f.ServiceOf(i).Name, n.Name)
	return normal != nil && 2*(n.DurationNs()-normal.MeanNs()) >= excessNs
}

// share makes of the terms' raw sizes parts of ns that sum to it exactly. What is less than a
// fiftieth of it is noise, and left to the others.
func share(ns int64, terms []term) {
	total := int64(0)
	for k := range terms {
		if terms[k].ns < ns/50 {
			terms[k].ns = 0
		}
		total += terms[k].ns
	}
	if total == 0 {
		terms[0].ns = ns
		return
	}
	sum, given := int64(0), int64(0)
	for k := range terms {
		sum += terms[k].ns
		upTo := scale(ns, sum, total)
		terms[k].ns = upTo - given
		given = upTo
	}
}

// scale is ns*part/whole without overflow, for 0 <= part <= whole.
func scale(ns, part, whole int64) int64 {
	high, low := bits.Mul64(uint64(ns), uint64(part))
	quotient, _ := bits.Div64(high, low, uint64(whole))
	return int64(quotient)
}

// terms are the reasons why an operation may have taken longer than normal, or without that taken its time, the
// operation's own work first.
func (t *trial) terms(i int32, normal *baseline.Baseline) []term {
	var selfNs int64
	t.steps, selfNs = t.f.PathOf(i, t.steps)
	steps := t.steps
	n := &t.f.Nodes[i]
	profile := normal.Profile(t.f.ServiceOf(i).Name, n.Name)
	terms := append(t.termList[:0], term{kind: termSelf, call: trace.None})
	defer func() { t.termList = terms }()
	if profile != nil {
		selfNs -= profile.Self.MeanNs()
	}
	if t.perEdge == nil {
		t.perEdge = make(map[*baseline.Edge]int)
	}
	clear(t.perEdge)
	counted := t.perEdge
	for k := range steps {
		s := &steps[k]
		if k > 0 && t.retries(steps[k-1].Node, s.Node) {
			terms = append(terms, term{kind: termBackoff, call: s.Node, ns: s.BeforeNs})
			selfNs -= s.BeforeNs
		}
		edge := normal.EdgeOf(t.f, i, s.Node)
		if edge != nil && !t.outcome[s.Node].Failed() {
			counted[edge]++
		}
	}
	if pool, ok := t.poolWait(i, steps, selfNs, normal); ok {
		terms = append(terms, pool)
		selfNs -= pool.ns
	}
	terms[0].ns = selfNs
	for k := range steps {
		s := &steps[k]
		edge := normal.EdgeOf(t.f, i, s.Node)
		meanNs := int64(0)
		if edge != nil && edge.Durations.Count() > 0 {
			meanNs = edge.Durations.MeanNs()
			usual := edge.CallsMean()
			if more := float64(counted[edge]) - usual; more >= 1 {
				terms = append(terms, term{kind: termCalls, call: s.Node, ns: int64(more * float64(meanNs)), count: counted[edge], usual: usual})
			}
			counted[edge] = 0 // once for all of them
		}
		overNs := min(s.OnNs, t.f.Nodes[s.Node].DurationNs()-meanNs)
		if k+1 < len(steps) && overNs > 0 {
			// What the operation rests less before its next call has made nobody late.
			if next := normal.EdgeOf(t.f, i, steps[k+1].Node); next != nil && next.Before.Count() > 0 {
				restedNs := min(overNs, max(0, next.Before.QuantileNs(0.1)-steps[k+1].BeforeNs))
				overNs -= restedNs
				terms[0].ns += restedNs
			}
		}
		if t.outcome[s.Node].Failed() && t.fold[s.Node].state != foldNone {
			overNs = s.OnNs // an attempt in vain is all too much
		}
		if overNs <= 0 {
			continue
		}
		terms = t.besides(terms, i, s, overNs, normal)
	}
	for k := range terms {
		terms[k].ns = max(0, terms[k].ns)
	}
	return terms
}

// retries: the second call is another attempt at what the first one failed in.
func (t *trial) retries(first, second int32) bool {
	if t.fold[first].state != foldEarlier && t.fold[first].state != foldAbsorbed {
		return false
	}
	a, b := &t.f.Nodes[first], &t.f.Nodes[second]
	return a.Kind == b.Kind && a.Name == b.Name
}

// besidesMost bounds the siblings that are looked at for running beside a call.
const besidesMost = 256

// sibling is a call that ran beside others, when it ended and how much too long it took.
type sibling struct {
	node  int32
	endNs int64
	over  int64
}

// besides adds the excess of a call on the path, shared with the calls beside it that would have made
// their parent wait nearly as long: the Shapley value of a maximum (Littlechild and Owen, 1973),
// where each step is split among those that reach above it.
func (t *trial) besides(terms []term, parent int32, s *trace.Step, overNs int64, normal *baseline.Baseline) []term {
	group := append(t.siblings[:0], sibling{s.Node, s.ToNs, overNs})
	defer func() { t.siblings = group }()
	expectedNs := s.ToNs - overNs
	looked := 0
	for c := t.f.Nodes[parent].FirstChild; c != trace.None && looked < besidesMost; c = t.f.Nodes[c].NextSib {
		n := &t.f.Nodes[c]
		if n.StartNs >= s.ToNs {
			break
		}
		looked++
		if c == s.Node || n.Async || n.NoDuration || n.EndNs <= s.FromNs || n.EndNs > s.ToNs+s.OnNs/100 || n.Kind == spans.KindInternal {
			continue
		}
		meanNs := int64(0)
		if edge := normal.EdgeOf(t.f, parent, c); edge != nil {
			meanNs = edge.Durations.MeanNs()
		}
		over := max(0, n.DurationNs()-meanNs)
		expectedNs = max(expectedNs, n.EndNs-over)
		if over > 0 {
			group = append(group, sibling{c, n.EndNs, over})
		}
	}
	// What each one would have added alone, beyond where all would have been done without any excess.
	for k := range group {
		group[k].over = min(group[k].over, max(0, group[k].endNs-expectedNs))
	}
	slices.SortFunc(group, func(a, b sibling) int { return cmp.Or(cmp.Compare(a.over, b.over), cmp.Compare(a.node, b.node)) })
	belowNs, addedNs := int64(0), int64(0)
	for k := range group {
		step := group[k].over - belowNs
		addedNs += step / int64(len(group)-k)
		belowNs = group[k].over
		if addedNs > 0 {
			terms = append(terms, term{kind: termCall, call: group[k].node, ns: addedNs})
		}
	}
	return terms
}

// poolWait: the operation's own time lies right before its calls to one callee, every time, and
// nowhere else: it waited for a connection or a slot.
func (t *trial) poolWait(i int32, steps []trace.Step, selfNs int64, normal *baseline.Baseline) (term, bool) {
	callee, waits, waitedNs := "", 0, int64(0)
	for k := range steps {
		s := &steps[k]
		n := &t.f.Nodes[s.Node]
		edge := normal.EdgeOf(t.f, i, s.Node)
		if n.Kind != spans.KindClient || edge == nil || edge.Before.Count() == 0 {
			continue
		}
		overNs := s.BeforeNs - edge.Before.MeanNs()
		waited := overNs > max(1_000_000, 3*edge.Before.QuantileNs(0.99))
		switch name := n.Facts.CalleeKey(); {
		case waited && callee == "" && waits == 0:
			callee = name
			fallthrough
		case waited && name == callee:
			waits++
			waitedNs += overNs
		case waited || (name == callee && waits > 0):
			return term{}, false
		}
	}
	if waits < 2 || waitedNs*10 < selfNs*8 {
		return term{}, false
	}
	for k := range steps {
		if n := &t.f.Nodes[steps[k].Node]; n.Kind == spans.KindClient && n.Facts.CalleeKey() == callee {
			return term{kind: termPool, call: steps[k].Node, ns: min(waitedNs, selfNs), count: waits}, true
		}
	}
	return term{}, false
}

// intoCall explains what a call took too long: its gap, its callee, or what it failed with.
func (t *trial) intoCall(c int32, ns int64, normal *baseline.Baseline) ([]portion, []finding) {
	n := &t.f.Nodes[c]
	t.onPath[c] = true
	if n.Kind != spans.KindClient {
		if n.Kind == spans.KindProducer {
			return nil, t.one(t.slowPeer(c, ns))
		}
		return []portion{{c, ns}}, nil
	}
	s := t.f.ServerSide(c)
	if s == trace.None {
		if n.FirstChild != trace.None {
			return []portion{{c, ns}}, nil
		}
		return nil, t.one(t.slowPeer(c, ns))
	}
	if t.f.Nodes[s].NoDuration || t.f.Nodes[s].Phantom() || t.f.Nodes[s].Async {
		return []portion{{s, ns}}, nil
	}
	serverNs := min(t.f.Nodes[s].DurationNs(), n.DurationNs())
	gapNs := n.DurationNs() - serverNs
	if edge := normal.EdgeOf(t.f, t.parentOf(c), c); edge != nil && edge.Server.Count() > 0 {
		serverNs -= edge.Server.MeanNs()
		gapNs -= edge.Gap.MeanNs()
	} else if server := normal.Operation(t.f.ServiceOf(s).Name, t.f.Nodes[s].Name); server != nil {
		serverNs -= server.MeanNs()
	}
	parts := []term{{ns: max(0, serverNs)}, {ns: max(0, gapNs)}}
	share(ns, parts)
	var deeper []portion
	var found []finding
	if parts[0].ns > 0 {
		deeper = append(deeper, portion{s, parts[0].ns})
	}
	if parts[1].ns > 0 {
		found = append(found, t.slowGap(c, s, parts[1].ns))
	}
	return deeper, found
}

func (t *trial) parentOf(c int32) int32 {
	if p := t.f.Nodes[c].Parent; p != trace.None {
		return p
	}
	return c
}

// failedTime is the time of an attempt that failed: whoever made it fail made it last.
func (t *trial) failedTime(c int32, ns int64) []finding {
	found := t.explain([]item{{node: c, weight: 1, confidence: 1, attempts: 1}})
	parts := make([]term, len(found))
	for k := range found {
		parts[k].ns = max(1, int64(found[k].weight*float64(ns)))
	}
	share(ns, parts)
	for k := range found {
		found[k].excessNs = parts[k].ns
	}
	return found
}

// slowPeer: the callee sends no spans, and took longer than it does.
func (t *trial) slowPeer(c int32, ns int64) finding {
	n := &t.f.Nodes[c]
	f := t.base(c, "slow-peer", 0.8)
	f.class = ""
	f.site = t.peerSite(c)
	f.accountable = f.site.Peer
	if sends, _ := t.sendsSpans(c); sends {
		f.site = verdict.Site{Kind: verdict.SiteService, Service: t.calleeName(c)}
		f = t.byCallee(f, c, trace.None)
		f.confidence = 0.55
	}
	if f.accountable == "" {
		f.site = verdict.Site{Kind: verdict.SiteUnknown, Candidates: []string{t.serviceName(c)}}
		f.confidence = 0.4
	}
	f.excessNs = ns
	f.summary = t.sprintf("%s took %s%s", t.callName(c), t.took(n.DurationNs()), t.normalCall(c))
	f.evidence = t.lines(t.sprintf("%s took %s%s; it sends no spans, so nothing is known of what happened inside", t.callWords(c), t.took(n.DurationNs()), t.normalCall(c)))
	f.runnerUp = t.candidate(t.edge(c, verdict.PhaseRequest), 0.1)
	return f
}

// ownTime is a finding about the operation itself: that it took longer, or just that it spent the time.
func (t *trial) ownTime(i int32, m *term, spent bool) finding {
	n := &t.f.Nodes[i]
	if n.Kind == spans.KindClient {
		return t.slowPeer(i, m.ns)
	}
	f := t.base(i, "slow-self", 0.8)
	f.class, f.errorType = "", ""
	f.site, f.accountable, f.service = t.serviceSite(i), t.serviceName(i), n.Service
	f.excessNs = m.ns
	switch m.kind {
	case termCalls:
		f.rule = "too-many-calls"
		f.nodes = []int32{i, m.call}
		f.summary = t.sprintf("%s made %d calls of %s, normal is %.3g", t.own(n.Name), m.count, t.callName(m.call), m.usual)
		f.evidence = t.lines(t.sprintf("%s made %d calls of %s one after the other, normal is %.3g; each took about as long as ever", t.operationWords(i), m.count, t.callName(m.call), m.usual))
		f.runnerUp = t.candidate(verdict.Site{Kind: verdict.SiteService, Service: t.calleeName(m.call)}, 0.1)
	case termBackoff:
		f.rule, f.confidence = "backoff", 0.75
		f.site = t.edge(m.call, verdict.PhaseBackoff)
		f.nodes = []int32{m.call}
		f.summary = t.sprintf("it waited %s between two attempts", t.took(m.ns))
		f.evidence = t.lines(t.sprintf("%s tried %s again after a failure, and waited %s before that", t.serviceName(i), t.callName(m.call), t.took(m.ns)))
		f.runnerUp = t.candidate(verdict.Site{Kind: verdict.SiteService, Service: t.calleeName(m.call)}, 0.2)
	case termPool:
		if slow := t.holdsPool(i, m.call); slow != trace.None {
			return t.heldUp(slow, m.ns)
		}
		f.rule, f.confidence = "pool-wait", 0.65
		f.site = t.edge(m.call, verdict.PhasePool)
		f.nodes = []int32{i, m.call}
		f.summary = t.sprintf("it waited %s for connections", t.took(m.ns))
		f.evidence = t.lines(t.sprintf("%s stood still for %s, each time right before one of its %d calls to %s and nowhere else; the calls themselves were fast",
			t.operationWords(i), t.took(m.ns), m.count, t.target(m.call)))
		f.runnerUp = t.candidate(t.serviceSite(i), 0.3)
	default:
		if waitsForPool(n.Name) && n.Kind == spans.KindInternal {
			if next := t.nextCall(i); next != trace.None {
				if slow := t.holdsPool(i, next); slow != trace.None {
					return t.heldUp(slow, m.ns)
				}
			}
			f.rule, f.confidence = "pool-wait", 0.75
			f.site = verdict.Site{Kind: verdict.SiteEdge, Caller: t.serviceName(i), Callee: t.nextCallee(i), Phase: verdict.PhasePool}
			f.summary = t.sprintf("%s took %s%s", t.own(n.Name), t.took(n.DurationNs()), t.normalOperation(i))
			f.evidence = t.lines(t.serviceName(i) + ": " + f.summary + ": it waited for a connection of its own pool")
			f.runnerUp = t.candidate(t.serviceSite(i), 0.15)
			return f
		}
		f.summary = t.sprintf("%s took %s%s", t.own(n.Name), t.took(n.DurationNs()), t.normalOperation(i))
		of := "it is its own work beyond the usual"
		if spent {
			of = "what is beyond the SLO is its own work"
		}
		f.evidence = t.lines(t.sprintf("%s took %s%s; %s of %s, with none of its calls running",
			t.operationWords(i), t.took(n.DurationNs()), t.normalOperation(i), t.took(m.ns), of))
		if call := n.Parent; call != trace.None && t.f.Nodes[call].Kind == spans.KindClient {
			f.runnerUp = t.candidate(t.edge(call, verdict.PhaseRequest), 0.1)
		}
	}
	return f
}

// waitsForPool: a span of that name is a wait for a connection or a slot.
func waitsForPool(name string) bool {
	name = strings.ToLower(name)
	for _, w := range [...]string{"getconnection", "get_connection", "get connection", "acquire", "checkout connection", "borrow", "pool.get", "pool.wait", "wait for connection"} {
		if strings.Contains(name, w) {
			return true
		}
	}
	return false
}

// heldUp: time was spent waiting for connections that slow calls like this one hold.
func (t *trial) heldUp(slow int32, ns int64) finding {
	f := t.slowPeer(slow, ns)
	f.evidence = append(f.evidence, t.sprintf("%s waited %s for a connection: what is slow holds its own", t.serviceName(slow), t.took(ns)))
	return f
}

// nextCall is the call that came next after a span beside it, None where none did.
func (t *trial) nextCall(i int32) int32 {
	for s := t.f.Nodes[i].NextSib; s != trace.None; s = t.f.Nodes[s].NextSib {
		if t.f.Nodes[s].Kind == spans.KindClient {
			return s
		}
	}
	return trace.None
}

func (t *trial) nextCallee(i int32) string {
	if c := t.nextCall(i); c != trace.None {
		return t.calleeName(c)
	}
	return ""
}

// mergeSites makes one finding of those of one site: the largest says why.
func mergeSites(findings []finding) []finding {
	slices.SortStableFunc(findings, func(a, b finding) int { return cmp.Compare(b.excessNs, a.excessNs) })
	merged := findings[:0]
	for _, f := range findings {
		at := slices.IndexFunc(merged, func(m finding) bool { return sameSite(m.site, f.site) })
		if at < 0 {
			merged = append(merged, f)
			continue
		}
		m := &merged[at]
		m.excessNs += f.excessNs
		if len(m.nodes) < 16 {
			m.nodes = append(m.nodes, f.nodes...)
		}
		if len(m.evidence) < 4 {
			m.evidence = append(m.evidence, f.evidence...)
		}
	}
	slices.SortStableFunc(merged, func(a, b finding) int { return cmp.Compare(b.excessNs, a.excessNs) })
	return merged
}
