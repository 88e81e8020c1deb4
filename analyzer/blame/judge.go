// Package blame judges a trace: which hop, a service or the gap between two, broke the request.
// The rules are those of docs/blame.md, which names them as the verdicts do.
package blame

import (
	"bytes"
	"slices"
	"strings"

	"github.com/whosehop/whosehop/analyzer/baseline"
	"github.com/whosehop/whosehop/analyzer/trace"
	"github.com/whosehop/whosehop/ownership"
	"github.com/whosehop/whosehop/storage/spans"
	"github.com/whosehop/whosehop/verdict"
)

// Config is what a judgement may know beyond the trace itself.
type Config struct {
	// Owners says who owns a hop. Nil: nobody is known.
	Owners Owners
	// Normal is what healthy traces look like. Nil: nothing is known.
	Normal *baseline.Baseline
	// SLO is how long entries and consumers may take, in nanoseconds: by "service operation", or else by operation.
	SLO map[string]int64
	// OnlyTrouble leaves verdicts on entries without a symptom bare: no hops, no summary.
	OnlyTrouble bool
	// Explain adds to every verdict which rules were tried, and why they did or did not fit.
	Explain bool
	// ExplainOf restricts that to the spans of a service and calls to it; empty is all.
	ExplainOf string
}

// Owners says who owns what is asked about, as *ownership.Registry does.
type Owners interface {
	Resolve(q *ownership.Question) ownership.Answer
}

// Judge gives one verdict for every entry of the forest, in the order of their starts. The same
// spans give the same verdicts, byte for byte, whatever order they came in.
func Judge(f *trace.Forest, cfg Config) []verdict.Verdict { return NewJudger(cfg).Judge(f) }

// Judger judges forests, one after the other, in the same memory.
type Judger struct{ trial trial }

// NewJudger makes a judger.
func NewJudger(cfg Config) *Judger { return &Judger{trial{cfg: cfg}} }

// Judge is like the function. The verdicts stay as they are.
func (j *Judger) Judge(f *trace.Forest) []verdict.Verdict {
	t := &j.trial
	t.start(f)
	verdicts := make([]verdict.Verdict, 0, len(f.Entries))
	for e := range f.Entries {
		verdicts = append(verdicts, t.judge(int32(e)))
	}
	return verdicts
}

// trial is the judgement of one forest.
type trial struct {
	f   *trace.Forest
	cfg Config
	// outcome of every node, with what its other side says taken in.
	outcome []trace.Outcome
	fold    []fold
	onPath  []bool // the node is on the way from the entry to a site
	// folded and dismissed say of every node of the entry that is judged whether it is, or lies below,
	// a call that was folded away, or one that counts for nothing.
	folded, dismissed []bool
	order             []int32
	// runs are the attempts at one request, of all that were tried more than once; with keepRuns.
	runs     [][]int32
	keepRuns bool
	// answering are the addresses (with port) whose server spans were seen; nil until it is asked for.
	answering map[string]bool
	steps     []trace.Step // of PathOf
	symptom   verdict.Symptom
	tried     []verdict.Tried
	texts
	hopOf         []hop
	open          []open
	others        []int32
	candidateList []candidate
	group         []int32
	next          []item
	found         [1]finding
	termList      []term
	siblings      []sibling
	perEdge       map[*baseline.Edge]int
	stack         []int32
	children      []int32
	overSLO       int32 // the first operation that latency found to be slower than its SLO, or None
	entryName     []byte
	// question is the one to the registry, about asked if that is a service of the trace; attr reads its resource.
	question ownership.Question
	asked    *trace.Service
	attr     func(string) (string, bool)
}

// start makes the trial one of the forest.
func (t *trial) start(f *trace.Forest) {
	t.f, t.answering = f, nil
	t.outcome, t.fold = zeroed(t.outcome, len(f.Nodes)), zeroed(t.fold, len(f.Nodes))
	t.onPath, t.folded, t.dismissed = zeroed(t.onPath, len(f.Nodes)), zeroed(t.folded, len(f.Nodes)), zeroed(t.dismissed, len(f.Nodes))
	failed := false
	for i := range f.Nodes {
		t.outcome[i] = f.Nodes[i].Outcome
		failed = failed || t.outcome[i].Failed()
	}
	if !failed {
		return
	}
	for i := range f.Nodes {
		n := &f.Nodes[i]
		if n.Kind != spans.KindClient || n.Outcome.Answered {
			continue
		}
		s := f.ServerSide(int32(i))
		switch {
		case s == trace.None:
		case !n.Outcome.Failed() && f.Nodes[s].Outcome.Level == trace.Fail:
			// A client that wrote down neither code nor status knows less than its server.
			t.outcome[i] = f.Nodes[s].Outcome
		case n.Outcome.Class == "APP" && !f.Nodes[s].Outcome.Failed() && !n.NoDuration && f.Nodes[s].DurationNs() > n.DurationNs()+n.DurationNs()/20+gaveUpNs:
			// It failed without saying how, while its server worked on: it gave up waiting.
			t.outcome[i].Class = "TIMEOUT"
		}
	}
	t.markCutOff()
	t.foldAll()
}

// gaveUpNs is how much longer than a failed call its server side must have run at least for the caller to
// have given up on it.
const gaveUpNs = 5_000_000

// zeroed is a list of so many zero values, in the memory of another one where that is enough.
func zeroed[T any](list []T, n int) []T {
	list = slices.Grow(list[:0], n)[:n]
	clear(list)
	return list
}

// cutOffMost bounds the failed siblings that are compared with each other.
const cutOffMost = 64

// markCutOff finds calls that were cut off because a call beside them had failed: their error is
// that call's, word for word. Go's errgroup cancels so, with the first error as the cause.
func (t *trial) markCutOff() {
	seen := make(map[int32]bool)
	var failed []int32
	for i := range t.f.Nodes {
		p := t.f.Nodes[i].Parent
		if p == trace.None || !t.outcome[i].Failed() || t.outcome[i].Answered || seen[p] {
			continue
		}
		seen[p] = true
		failed = failed[:0]
		for c := t.f.Nodes[p].FirstChild; c != trace.None && len(failed) < cutOffMost; c = t.f.Nodes[c].NextSib {
			if t.outcome[c].Failed() && t.f.Nodes[c].Kind == spans.KindClient {
				failed = append(failed, c)
			}
		}
		for _, c := range failed {
			for _, by := range failed {
				if c != by && t.cutOffBy(c, by) {
					t.outcome[c] = trace.Outcome{Level: trace.Soft, Class: verdict.ClassCancelled}
				}
			}
		}
	}
}

// cutOffBy: the call ended without an answer once by had been answered with a failure, whose text it repeats.
func (t *trial) cutOffBy(c, by int32) bool {
	n, o := &t.f.Nodes[c], &t.f.Nodes[by]
	const slackNs = 1_000_000
	if t.outcome[c].Answered || !t.outcome[by].Answered || n.EndNs+slackNs < o.EndNs {
		return false
	}
	for _, said := range [...]string{o.Facts.ExceptionMessage, o.Facts.StatusMessage} {
		if len(said) >= 6 && (strings.Contains(n.Facts.ExceptionMessage, said) || strings.Contains(n.Facts.StatusMessage, said)) {
			return true
		}
	}
	return false
}

// finding is a share in the making.
type finding struct {
	site        verdict.Site
	accountable string
	service     int32 // in Forest.Services whose owner is asked for, None where accountable names no span's service
	rule        string
	class       verdict.Class
	errorType   string
	nodes       []int32
	evidence    []string
	weight      float64
	excessNs    int64 // of a latency verdict
	confidence  float64
	attempts    int
	runnerUp    *verdict.Candidate
	// summary says in half a sentence what happened at the site.
	summary string
}

func (t *trial) judge(e int32) verdict.Verdict {
	entry := t.f.Entries[e]
	n := &t.f.Nodes[entry]
	v := verdict.Verdict{
		TraceID: t.hex(t.f.ID[:]), Rules: verdict.Rules, Version: 1,
		Symptom: verdict.SymptomNone, Shares: []verdict.Share{},
	}
	named := t.namedNode(entry)
	v.Entry = verdict.Entry{
		Service: t.serviceName(entry), Operation: t.own(t.f.Nodes[named].Name),
		SpanID: t.hex(t.f.Nodes[named].SpanID[:]), Start: verdict.Time{UnixNs: n.StartNs}, DurationNs: n.DurationNs(),
	}
	if count := t.f.Represents(entry); count != 1 {
		v.Represents = count
	}
	t.tried = nil
	t.walk(entry)
	v.Completeness = round(t.f.Completeness(e) * t.serversPresent())

	var findings []finding
	switch o := t.outcome[entry]; {
	case o.Level == trace.Fail:
		v.Symptom = verdict.SymptomError
		findings = t.explain([]item{{node: entry, weight: 1, confidence: 1, attempts: 1}})
	case o.Level == trace.Soft && n.Kind != spans.KindClient:
		findings = t.explain([]item{{node: entry, weight: 1, confidence: 1, attempts: 1}})
		if len(findings) == 1 && findings[0].site.Kind == verdict.SiteUser && o.Class != "CANCELLED" {
			// The sender asked for what cannot be given, and was told so: nothing is broken.
			v.Notes = append(v.Notes, findings[0].evidence...)
			findings = nil
			for _, i := range t.order {
				t.onPath[i] = false
			}
		} else {
			v.Symptom = verdict.SymptomError
		}
	default:
		masked := t.masked()
		findings = t.latency(entry)
		switch {
		case len(findings) > 0 && !t.madeByFailures(findings):
			v.Symptom = verdict.SymptomLatency
		case len(masked) > 0:
			v.Symptom = verdict.SymptomDegraded
			findings = t.explain(masked)
			if t.overSLO != trace.None {
				v.Notes = append(v.Notes, t.sloWords(t.overSLO))
			}
		case len(findings) > 0:
			v.Symptom = verdict.SymptomLatency
		}
	}
	if o := t.outcome[entry]; o.Class == "CANCELLED" && len(findings) == 1 && findings[0].site.Kind == verdict.SiteUser {
		// Whoever leaves because it takes too long is not to blame for that.
		if slow := t.latency(entry); len(slow) > 0 {
			v.Symptom, findings = verdict.SymptomLatency, slow
			v.Notes = append(v.Notes, "the sender left before it was answered")
		}
	}
	if service := t.f.ServiceOf(entry).Name; v.Symptom == verdict.SymptomError && t.cfg.Normal.FailsAsARule(service, n.Name) {
		// What fails whenever it runs is no news; that it took longer than it does is.
		if slow := t.latency(entry); len(slow) > 0 {
			v.Symptom, findings = verdict.SymptomLatency, slow
			v.Notes = append(v.Notes, t.sprintf("it ended with %s, as it does nearly always", t.said(entry)))
		}
	}
	if v.Symptom == verdict.SymptomLatency {
		for k := range findings {
			findings[k].weight = float64(findings[k].excessNs)
		}
	}
	findings = merge(findings)
	v.Shares = t.shares(findings, v.Completeness)
	for k := range v.Shares {
		v.Shares[k].Fingerprint = t.fingerprint(v.Symptom, &findings[k])
	}
	v.Tried = t.tried
	if v.Symptom == verdict.SymptomNone && t.cfg.OnlyTrouble {
		return v
	}
	t.symptom = v.Symptom
	v.Notes = append(v.Notes, t.rests()...)
	v.Hops = t.hops(entry, findings)
	if t.f.LeftOut > 0 {
		v.Notes = append(v.Notes, t.sprintf("judged on the first %d spans; %d more were left out", len(t.f.Nodes), t.f.LeftOut))
	}
	if n.Orphan {
		v.Notes = append(v.Notes, "the root of this trace was never received; judged from the topmost span that was")
	}
	v.Notes = append(v.Notes, t.clockNotes()...)
	v.Summary = t.summary(&v, findings)
	return v
}

// restsMost bounds the notes about attempts.
const restsMost = 4

// rests says how long was rested between the attempts that are on the path.
func (t *trial) rests() []string {
	var notes []string
	for _, i := range t.order {
		fold := &t.fold[i]
		if t.onPath[i] && fold.attempts > 1 && fold.restNs > 0 && t.f.Nodes[i].Kind == spans.KindClient && len(notes) < restsMost {
			notes = append(notes, t.sprintf("%s tried %s %d times, and rested %s between the attempts",
				t.serviceName(i), t.callName(i), int(fold.attempts), t.took(fold.restNs)))
		}
	}
	return notes
}

// madeByFailures: most of the time went into attempts that failed.
func (t *trial) madeByFailures(findings []finding) bool {
	failedNs, allNs := int64(0), int64(0)
	for k := range findings {
		f := &findings[k]
		allNs += f.excessNs
		if f.rule != "backoff" && len(f.nodes) > 0 && t.outcome[f.nodes[0]].Failed() {
			failedNs += f.excessNs
		}
	}
	return failedNs*2 > allNs
}

// serversPresent is the share of server spans that are there, of those that good answers say must
// have been: where a callee normally sends one.
func (t *trial) serversPresent() float64 {
	present, expected := 0, 0
	for _, i := range t.order {
		if t.f.Nodes[i].Kind != spans.KindClient || t.outcome[i].Failed() {
			continue
		}
		if t.f.ServerSide(i) != trace.None {
			present++
			expected++
		} else if sends, _ := t.sendsSpans(i); sends {
			expected++
		}
	}
	if expected == 0 {
		return 1
	}
	return float64(present) / float64(expected)
}

// namedNode is the node that gives an entry its name: the node itself or, for a phantom, its first child.
func (t *trial) namedNode(entry int32) int32 {
	if t.f.Nodes[entry].Phantom() && t.f.Nodes[entry].FirstChild != trace.None {
		return t.f.Nodes[entry].FirstChild
	}
	return entry
}

// walk puts the nodes of an entry's tree into t.order, parents first, siblings by their start.
func (t *trial) walk(entry int32) {
	t.order = t.order[:0]
	stack, children := append(t.stack[:0], entry), t.children
	for len(stack) > 0 {
		at := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		t.order = append(t.order, at)
		state := t.fold[at].state
		t.folded[at], t.dismissed[at] = state != foldNone, state == foldIgnored || state == foldEarlier
		if p := t.f.Nodes[at].Parent; p != trace.None {
			t.folded[at] = t.folded[at] || t.folded[p]
			t.dismissed[at] = t.dismissed[at] || t.dismissed[p]
		}
		children = children[:0]
		for c := t.f.Nodes[at].FirstChild; c != trace.None; c = t.f.Nodes[c].NextSib {
			children = append(children, c)
		}
		slices.Reverse(children)
		stack = append(stack, children...)
	}
	t.stack, t.children = stack, children
}

// masked finds what failed inside a tree whose entry succeeded: the topmost failures, retried ones
// once, hedges and answered challenges not at all.
func (t *trial) masked() []item {
	var items []item
	for _, i := range t.order {
		n := &t.f.Nodes[i]
		if t.outcome[i].Level != trace.Fail || n.Parent == trace.None || t.outcome[n.Parent].Level == trace.Fail {
			continue
		}
		if t.dismissed[i] || t.wrapsFailedSibling(i) {
			continue
		}
		items = append(items, item{node: i, confidence: 1, attempts: 1})
	}
	for i := range items {
		items[i].weight = 1 / float64(len(items))
	}
	return items
}

// merge makes one finding of those that name the same site for the same reason.
func merge(findings []finding) []finding {
	merged := findings[:0]
	for _, f := range findings {
		at := slices.IndexFunc(merged, func(m finding) bool {
			return sameSite(m.site, f.site) && m.rule == f.rule && m.class == f.class && m.accountable == f.accountable
		})
		if at < 0 {
			merged = append(merged, f)
			continue
		}
		m := &merged[at]
		m.weight += f.weight
		m.excessNs += f.excessNs
		m.confidence = max(m.confidence, f.confidence)
		m.attempts = max(m.attempts, f.attempts)
		if len(m.nodes) < 16 {
			m.nodes = append(m.nodes, f.nodes...)
		}
	}
	slices.SortStableFunc(merged, func(a, b finding) int {
		switch {
		case a.weight > b.weight+1e-12:
			return -1
		case b.weight > a.weight+1e-12:
			return 1
		}
		return 0
	})
	return merged
}

func sameSite(a, b verdict.Site) bool {
	return a.Kind == b.Kind && a.Service == b.Service && a.Operation == b.Operation && a.Caller == b.Caller &&
		a.Callee == b.Callee && a.Phase == b.Phase && a.Peer == b.Peer
}

func (t *trial) shares(findings []finding, completeness float64) []verdict.Share {
	shares := make([]verdict.Share, 0, len(findings))
	total := 0.0
	for i := range findings {
		total += findings[i].weight
	}
	rest := 1.0
	for i := range findings {
		f := &findings[i]
		owner := t.ownerOf(f)
		weight := round(f.weight / total)
		if i == len(findings)-1 {
			weight = round(rest) // so that they sum to one
		}
		rest -= weight
		s := verdict.Share{
			Site: f.site, Accountable: f.accountable, Owner: owner, Weight: weight, ExcessNs: f.excessNs,
			// A torn trace may lack the span that would say otherwise.
			Confidence: round(calibrated(f.confidence * (0.7 + 0.3*completeness))),
			Rule:       f.rule, Class: f.class, ErrorType: f.errorType, Evidence: f.evidence, RunnerUp: f.runnerUp,
			SpanIDs: t.spanIDs(f.nodes, 16), Version: t.version(f),
		}
		s.Caller, s.Callee = t.around(f)
		if f.attempts > 1 {
			s.Amplification = f.attempts
		}
		shares = append(shares, s)
	}
	return shares
}

// version is that of the service that must act, or that is the site.
func (t *trial) version(f *finding) string {
	for _, name := range [...]string{f.accountable, f.site.Service} {
		if s := t.serviceNamed(name); name != "" && s != trace.None {
			return t.own(t.f.Services[s].Version)
		}
	}
	return ""
}

// around says who called the site, and what the call went to with which it went wrong.
func (t *trial) around(f *finding) (caller, callee string) {
	if len(f.nodes) == 0 {
		return "", ""
	}
	at := f.nodes[0]
	switch f.site.Kind {
	case verdict.SitePeer:
		return t.serviceName(f.nodes[len(f.nodes)-1]), ""
	case verdict.SiteService:
		if t.f.ServiceOf(at).Name != f.site.Service {
			return t.serviceName(at), "" // the call of what did not answer
		}
		if t.f.Nodes[at].Kind == spans.KindClient {
			callee = t.calleeName(at)
		}
		for at != trace.None && t.f.ServiceOf(at).Name == f.site.Service {
			at = t.f.Nodes[at].Parent
		}
		if at != trace.None {
			caller = t.serviceName(at)
		}
	}
	return caller, callee
}

// calibrated turns what a rule claims into how often such claims are right. docs/accuracy.md has the
// table that it was read from, and the one that it was checked with.
func calibrated(claim float64) float64 { return claim + 0.6*claim*(1-claim) }

func round(x float64) float64 {
	const digits = 1e6
	return float64(int64(x*digits+0.5)) / digits
}

func (t *trial) spanIDs(nodes []int32, most int) []string {
	from := t.roomForLines(min(len(nodes), most))
	ids := t.lists[from:from]
	var last spans.SpanID
	for _, i := range nodes {
		id := t.f.Nodes[i].SpanID
		if len(ids) == most || t.f.Nodes[i].Phantom() || (len(ids) > 0 && bytes.Equal(id[:], last[:])) {
			continue
		}
		ids = append(ids, t.hex(id[:]))
		last = id
	}
	t.lists = t.lists[:from+len(ids)]
	return ids[:len(ids):len(ids)]
}
