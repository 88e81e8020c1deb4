// Package baseline is what is normal, learnt from traces other than the one under trial: how long
// operations, calls and the gaps between the two sides of a call take when all is well, how often an
// operation calls another, which callees send spans, how often a failed call fails its caller; and
// what was seen of late, minute by minute: failures, refusals, rates, clocks.
package baseline

import (
	"github.com/whosehop/whosehop/analyzer/trace"
	"github.com/whosehop/whosehop/storage/spans"
)

// Baseline adds up traces. The zero value knows nothing and is ready to use, as is nil for reading.
// Learn, Witness and Merge must not run beside anything else; reading may run in parallel.
type Baseline struct {
	operations map[operationKey]*Operation
	edges      map[edgeKey]*Edge
	calls      map[callKey]*calls
	queues     map[callKey]*Durations
	services   map[string]*service
	recent     recent
	clocks     clocks
	steps      []trace.Step // of PathOf
	keysMost   int          // of each map, 0 for learntKeysMost
	leftOut    int
	standFor   int
	names      *Baseline // may be nil
}

// operationKey: runs that failed are kept apart from those that ended well.
type operationKey struct {
	service, name string
	failed        bool
}

// edgeKey is an operation's calls of one kind: callee is what the caller calls it, by Facts.CalleeKey.
type edgeKey struct {
	service, operation, callee, name string
	failed                           bool // the operation
}

type callKey struct{ caller, callee, name string }

// Operation is what one operation of a service does when it ends well; or, for one that fails as a
// rule, when it fails.
type Operation struct {
	Durations Durations
	// Self is the time that it spends with none of its calls running.
	Self Durations
	runs int // that all of this was learnt from
}

// Edge is what one operation's calls of one kind do when they end well.
type Edge struct {
	operation *Operation // that makes the calls
	// OnPath counts the calls on their operation's critical path.
	OnPath    int
	Durations Durations
	// Gap is the time of a call that its server side does not account for.
	Gap Durations
	// Server is the time of the server side.
	Server Durations
	// Before is the time that the caller spends by itself right before the call.
	Before Durations
	// calls counts the calls that ended well and those that failed.
	calls [2]int
}

// CallsMean is how many calls of the kind an operation has on its critical path, on average.
func (e *Edge) CallsMean() float64 {
	if e == nil || e.operation.runs == 0 {
		return 0
	}
	return float64(e.OnPath) / float64(e.operation.runs)
}

type calls struct {
	succeeded  int
	withServer int
	service    string // of the server side
	durations  Durations
}

type service struct {
	lastSeenNs int64
	versions   map[string]version
}

type version struct{ firstNs, lastNs int64 }

// Learn adds a trace: all of it to what was seen, and its healthy part to what is normal.
func (b *Baseline) Learn(f *trace.Forest) {
	b.Witness(f)
	for i := range f.Nodes {
		n := &f.Nodes[i]
		if n.Phantom() {
			continue
		}
		if n.Kind == spans.KindClient {
			b.learnCall(f, int32(i))
		}
		if isOperation(f, int32(i)) {
			b.learnOperation(f, int32(i))
		}
		if n.Kind == spans.KindProducer {
			b.learnQueue(f, int32(i))
		}
	}
}

// isOperation: a span that has a normal of its own, apart from the operation that it is called by.
func isOperation(f *trace.Forest, i int32) bool {
	n := &f.Nodes[i]
	return n.Kind != spans.KindClient && n.Kind != spans.KindProducer || n.Parent == trace.None || n.FirstChild != trace.None
}

func (b *Baseline) learnCall(f *trace.Forest, i int32) {
	n := &f.Nodes[i]
	if n.Parent != trace.None {
		b.edge(f, n.Parent, i).calls[bit(n.Outcome.Level == trace.Fail)]++
	}
	if n.NoDuration || n.Outcome.Failed() || n.CalledOff() {
		return
	}
	c := b.callsOf(callKey{f.ServiceOf(i).Name, n.Facts.CalleeKey(), n.Name})
	c.succeeded++
	c.durations.Add(n.DurationNs())
	if server := f.ServerSide(i); server != trace.None {
		c.withServer++
		if name := f.ServiceOf(server).Name; name > c.service {
			c.service = clone(name)
		}
	}
}

func (b *Baseline) callsOf(key callKey) *calls {
	c := b.calls[key]
	if c == nil {
		c = &calls{}
		put(b, &b.calls, callKey{clone(key.caller), clone(key.callee), clone(key.name)}, c)
	}
	return c
}

func bit(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

func (b *Baseline) learnOperation(f *trace.Forest, i int32) {
	n := &f.Nodes[i]
	if n.NoDuration {
		return
	}
	o := b.operation(f, i)
	o.runs++
	o.Durations.Add(n.DurationNs())
	var selfNs int64
	b.steps, selfNs = f.PathOf(i, b.steps)
	o.Self.Add(selfNs)
	for _, s := range b.steps {
		e := b.edge(f, i, s.Node)
		e.OnPath++
		e.Before.Add(s.BeforeNs)
	}
	for c := n.FirstChild; c != trace.None; c = f.Nodes[c].NextSib {
		b.learnEdge(f, i, c)
	}
}

func (b *Baseline) learnEdge(f *trace.Forest, parent, c int32) {
	n := &f.Nodes[c]
	if n.NoDuration || n.Outcome.Failed() || n.Phantom() || n.CalledOff() {
		return
	}
	e := b.edge(f, parent, c)
	e.Durations.Add(n.DurationNs())
	s := f.ServerSide(c)
	if s == trace.None || f.Nodes[s].NoDuration || f.Nodes[s].Phantom() {
		return
	}
	if f.Nodes[s].Async {
		return
	}
	e.Server.Add(f.Nodes[s].DurationNs())
	e.Gap.Add(n.DurationNs() - f.Nodes[s].DurationNs())
}

// learnQueue adds how long the consumers of a message waited for it.
func (b *Baseline) learnQueue(f *trace.Forest, producer int32) {
	p := &f.Nodes[producer]
	for c := p.FirstChild; c != trace.None; c = f.Nodes[c].NextSib {
		if n := &f.Nodes[c]; n.Kind == spans.KindConsumer && !n.NoDuration && !p.NoDuration && !n.Outcome.Failed() {
			b.queueOf(callKey{f.ServiceOf(producer).Name, f.ServiceOf(c).Name, p.Name}).Add(n.StartNs - p.EndNs)
		}
	}
}

func (b *Baseline) queueOf(key callKey) *Durations {
	d := b.queues[key]
	if d == nil {
		d = &Durations{}
		put(b, &b.queues, callKey{clone(key.caller), clone(key.callee), clone(key.name)}, d)
	}
	return d
}

// Queue is how long a consumer's messages wait before it begins with them, nil where too little is known.
func (b *Baseline) Queue(producer, consumer, name string) *Durations {
	if b == nil {
		return nil
	}
	if d := b.queues[callKey{producer, consumer, name}]; d != nil {
		return enough(d)
	}
	return nil
}

func (b *Baseline) operation(f *trace.Forest, i int32) *Operation {
	return b.operationOf(operationKey{f.ServiceOf(i).Name, f.Nodes[i].Name, f.Nodes[i].Outcome.Failed()})
}

func (b *Baseline) operationOf(key operationKey) *Operation {
	o := b.operations[key]
	if o == nil {
		o = &Operation{}
		put(b, &b.operations, operationKey{clone(key.service), clone(key.name), key.failed}, o)
	}
	return o
}

func keyOf(f *trace.Forest, parent, c int32, failed bool) edgeKey {
	n := &f.Nodes[c]
	callee := n.Facts.CalleeKey()
	if n.Service != f.Nodes[parent].Service {
		callee = f.ServiceOf(c).Name
	}
	return edgeKey{f.ServiceOf(parent).Name, f.Nodes[parent].Name, callee, n.Name, failed}
}

func (b *Baseline) edge(f *trace.Forest, parent, c int32) *Edge {
	return b.edgeOf(keyOf(f, parent, c, f.Nodes[parent].Outcome.Failed()))
}

func (b *Baseline) edgeOf(key edgeKey) *Edge {
	e := b.edges[key]
	if e == nil {
		e = &Edge{operation: b.operationOf(operationKey{key.service, key.operation, key.failed})}
		put(b, &b.edges, edgeKey{clone(key.service), clone(key.operation), clone(key.callee), clone(key.name), key.failed}, e)
	}
	return e
}

// put adds to a map that may not be made yet, unless it is full.
func put[K comparable, V any](b *Baseline, m *map[K]V, key K, value V) {
	if !b.room(len(*m)) {
		return
	}
	if *m == nil {
		*m = make(map[K]V)
	}
	(*m)[key] = value
}

// clone gives a map key memory of its own: names point into a block that will be reused.
func clone(s string) string { return string([]byte(s)) }

// learntMin is how many samples make a normal: the corpus has histories of about a dozen traces.
const learntMin = 5

// Operation is how long an operation of a service takes, nil where too little is known.
func (b *Baseline) Operation(service, name string) *Durations {
	if o := b.Profile(service, name); o != nil {
		return &o.Durations
	}
	return nil
}

// Profile is what is known of an operation of a service, nil where that is too little.
func (b *Baseline) Profile(service, name string) *Operation {
	if b == nil {
		return nil
	}
	if o := b.operations[operationKey{service, name, b.FailsAsARule(service, name)}]; o != nil && o.runs >= learntMin {
		return o
	}
	return nil
}

// FailsAsARule: nine in ten runs of the operation fail, so that one that failed is nothing new.
func (b *Baseline) FailsAsARule(service, name string) bool {
	if b == nil {
		return false
	}
	failed := b.operations[operationKey{service, name, true}]
	if failed == nil || failed.runs < learntMin {
		return false
	}
	ok := b.operations[operationKey{service, name, false}]
	return ok == nil || ok.runs*9 <= failed.runs
}

// EdgeOf is what is known of calls like c from operations like its parent, nil where nothing is. It
// may have been seen too rarely to tell a duration, but its operation has not.
func (b *Baseline) EdgeOf(f *trace.Forest, parent, c int32) *Edge {
	if b == nil {
		return nil
	}
	fails := b.FailsAsARule(f.ServiceOf(parent).Name, f.Nodes[parent].Name)
	if e := b.edges[keyOf(f, parent, c, fails)]; e != nil && e.operation.runs >= learntMin {
		return e
	}
	return nil
}

// Call is how long a call takes as its caller sees it, nil where too little is known.
func (b *Baseline) Call(caller, callee, name string) *Durations {
	if b == nil {
		return nil
	}
	if c := b.calls[callKey{caller, callee, name}]; c != nil {
		return enough(&c.durations)
	}
	return nil
}

// SendsSpans says whether a callee normally sends a server span: in at least nine of ten successful
// calls. known is false where too few were seen.
func (b *Baseline) SendsSpans(caller, callee, name string) (sends, known bool) {
	if b == nil {
		return false, false
	}
	c := b.calls[callKey{caller, callee, name}]
	if c == nil || c.succeeded < learntMin {
		return false, false
	}
	return c.withServer*10 >= c.succeeded*9, true
}

// CalleeService is the service whose server spans were seen below such calls, empty where none was.
func (b *Baseline) CalleeService(caller, callee, name string) string {
	if b == nil {
		return ""
	}
	if c := b.calls[callKey{caller, callee, name}]; c != nil {
		return c.service
	}
	return ""
}

// LastSeenNs is when the last span of a service began, 0 for never.
func (b *Baseline) LastSeenNs(name string) int64 {
	if b == nil || b.services[name] == nil {
		return 0
	}
	return b.services[name].lastSeenNs
}

// VersionChange says when a service began to run this version, if it ran another one before: ok is
// false where it did not, or where that is not known.
func (b *Baseline) VersionChange(name, current string, nowNs int64) (from string, atNs int64, ok bool) {
	if b == nil || current == "" || b.services[name] == nil {
		return "", 0, false
	}
	s := b.services[name]
	atNs = nowNs
	if v, known := s.versions[current]; known {
		atNs = min(atNs, v.firstNs)
	}
	lastNs := int64(0)
	for v, seen := range s.versions {
		if v != current && seen.firstNs < atNs && (seen.lastNs > lastNs || seen.lastNs == lastNs && v > from) {
			from, lastNs = v, seen.lastNs
		}
	}
	return from, atNs, from != ""
}

// FailsParent is how much more often an operation fails when its call c does than when that ends
// well, as the logarithm of the ratio, smoothed. Known only where enough such calls have failed.
func (b *Baseline) FailsParent(f *trace.Forest, parent, c int32) (logRatio float64, known bool) {
	if b == nil || parent == trace.None {
		return 0, false
	}
	var inGood, inFailed [2]int
	if e := b.edges[keyOf(f, parent, c, false)]; e != nil {
		inGood = e.calls
	}
	if e := b.edges[keyOf(f, parent, c, true)]; e != nil {
		inFailed = e.calls
	}
	ok, failed := inGood[0]+inFailed[0], inGood[1]+inFailed[1]
	if failed < learntMin {
		return 0, false
	}
	return smoothedLogRatio(inFailed[1], failed, inFailed[0], ok), true
}

func enough(d *Durations) *Durations {
	if d.count < learntMin {
		return nil
	}
	return d
}
