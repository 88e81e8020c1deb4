package trace

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"github.com/whosehop/whosehop/storage/spans"
)

// dayNs is the longest duration that is believed.
const dayNs = 24 * 3600 * 1_000_000_000

// Rows are the rows of a block that belong to one trace.
type Rows struct {
	ID   spans.TraceID
	Rows []uint32
}

// Group splits a block into its traces, in the order of their ids.
func Group(b *spans.Block) []Rows {
	order := make([]uint32, b.Len())
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortStableFunc(order, func(x, y uint32) int { return bytes.Compare(b.TraceIDs[x][:], b.TraceIDs[y][:]) })
	var groups []Rows
	for from := 0; from < len(order); {
		id := b.TraceIDs[order[from]]
		to := from + 1
		for to < len(order) && b.TraceIDs[order[to]] == id {
			to++
		}
		groups = append(groups, Rows{ID: id, Rows: order[from:to:to]})
		from = to
	}
	return groups
}

// Build makes the call forest of the spans in rows, which must be of one trace. No more than limit
// spans are looked at, the earliest ones; 0 means all.
func Build(b *spans.Block, rows []uint32, limit int) *Forest {
	f := &Forest{block: b}
	if len(rows) == 0 {
		return f
	}
	f.ID = b.TraceIDs[rows[0]]
	if limit > 0 && len(rows) > limit {
		f.LeftOut = len(rows) - limit
		rows = slices.Clone(rows)
		slices.SortFunc(rows, func(x, y uint32) int {
			if c := cmp.Compare(b.StartNs[x], b.StartNs[y]); c != 0 {
				return c
			}
			return bytes.Compare(b.SpanIDs[x][:], b.SpanIDs[y][:])
		})
		rows = rows[:limit]
	}
	f.addNodes(rows)
	f.link()
	f.cutCycles()
	f.addPhantoms()
	f.hang()
	f.markAsync()
	return f
}

// addNodes makes a node of each distinct span; spans without an id name nothing and are left out.
func (f *Forest) addNodes(rows []uint32) {
	b := f.block
	in := interner{f: f, seen: make(map[uint32][2]int32), byKey: make(map[string]int32)}
	f.Nodes = make([]Node, 0, len(rows)+2)
	for _, row := range rows {
		i := int(row)
		if b.SpanIDs[i] == (spans.SpanID{}) {
			continue
		}
		service, instance := in.resource(b.ResourceOf[i])
		n := Node{
			SpanID: b.SpanIDs[i], ParentID: b.ParentIDs[i], Row: int32(row),
			Parent: None, FirstChild: None, NextSib: None, Entry: None,
			Kind: b.Kinds[i], Service: service, Instance: instance,
			StartNs: b.StartNs[i], EndNs: b.EndNs[i], Name: view(b.Names.At(i)),
		}
		if n.EndNs < n.StartNs || n.StartNs <= 0 || n.EndNs-n.StartNs > dayNs {
			n.NoDuration, n.EndNs = true, n.StartNs
		}
		f.Nodes = append(f.Nodes, n)
	}
	// One span sent several times: keep the most complete copy.
	slices.SortFunc(f.Nodes, func(x, y Node) int {
		return cmp.Or(
			bytes.Compare(x.SpanID[:], y.SpanID[:]),
			cmp.Compare(x.Kind, y.Kind),
			strings.Compare(in.keys[x.Instance], in.keys[y.Instance]),
			cmp.Compare(y.EndNs, x.EndNs),
			cmp.Compare(b.Statuses[y.Row], b.Statuses[x.Row]),
			cmp.Compare(x.StartNs, y.StartNs),
			strings.Compare(x.Name, y.Name),
		)
	})
	f.Nodes = slices.CompactFunc(f.Nodes, func(x, y Node) bool {
		return x.SpanID == y.SpanID && x.Kind == y.Kind && x.Instance == y.Instance
	})
	slices.SortFunc(f.Nodes, func(x, y Node) int {
		return cmp.Or(
			cmp.Compare(x.StartNs, y.StartNs),
			bytes.Compare(x.SpanID[:], y.SpanID[:]),
			cmp.Compare(x.Kind, y.Kind),
			strings.Compare(in.keys[x.Instance], in.keys[y.Instance]),
		)
	})
	for i := range f.Nodes {
		n := &f.Nodes[i]
		n.Facts = readFacts(b, int(n.Row), n.Kind)
		n.Outcome = readOutcome(&n.Facts, b.Statuses[n.Row], n.Kind)
	}
}

// interner numbers services and instances. Resources are told apart by what they say, not by their
// row: the same process may have sent several requests.
type interner struct {
	f     *Forest
	seen  map[uint32][2]int32
	byKey map[string]int32
	keys  []string // of instances
}

func (in *interner) resource(r uint32) (service, instance int32) {
	if known, ok := in.seen[r]; ok {
		return known[0], known[1]
	}
	attrs := &in.f.block.Resources.Attrs
	get := func(key string) string {
		v, _ := attrs.Get(int(r), key)
		return view(v)
	}
	name, namespace := view(in.f.block.Resources.Services.At(int(r))), get("service.namespace")
	if name == "" {
		name = Unnamed
	}
	service = None
	for i := range in.f.Services {
		if in.f.Services[i].Name == name && in.f.Services[i].Namespace == namespace {
			service = int32(i)
		}
	}
	if service == None {
		service = int32(len(in.f.Services))
		in.f.Services = append(in.f.Services, Service{Name: name, Namespace: namespace, Version: get("service.version"), resource: r})
	} else if s := &in.f.Services[service]; get("service.version") > s.Version {
		s.Version, s.resource = get("service.version"), r
	}
	key := namespace + "\x00" + name + "\x00" + get("service.instance.id") + "\x00" + get("host.name") + "\x00" +
		get("k8s.pod.name") + "\x00" + get("container.id") + "\x00" + get("process.pid")
	instance, ok := in.byKey[key]
	if !ok {
		instance = int32(len(in.keys))
		in.byKey[key] = instance
		in.keys = append(in.keys, key)
		clock := cmp.Or(get("host.id"), get("k8s.node.name"), get("host.name"), get("service.instance.id"), get("k8s.pod.name"), get("container.id"))
		in.f.Instances = append(in.f.Instances, Instance{Clock: cmp.Or(clock, name)})
	}
	in.seen[r] = [2]int32{service, instance}
	return service, instance
}

// link finds every node's parent.
func (f *Forest) link() {
	byID := make([]int32, len(f.Nodes))
	for i := range byID {
		byID[i] = int32(i)
	}
	slices.SortStableFunc(byID, func(x, y int32) int { return bytes.Compare(f.Nodes[x].SpanID[:], f.Nodes[y].SpanID[:]) })
	find := func(id spans.SpanID) []int32 {
		from, ok := slices.BinarySearchFunc(byID, id, func(i int32, id spans.SpanID) int {
			return bytes.Compare(f.Nodes[i].SpanID[:], id[:])
		})
		if !ok {
			return nil
		}
		to := from + 1
		for to < len(byID) && f.Nodes[byID[to]].SpanID == id {
			to++
		}
		return byID[from:to]
	}
	for i := range f.Nodes {
		n := &f.Nodes[i]
		if n.Kind == spans.KindServer || n.Kind == spans.KindConsumer {
			// Zipkin lets both sides of a call share one id: the caller's side is the parent.
			if c := f.callerSide(find(n.SpanID), int32(i)); c != None {
				n.Parent = c
				continue
			}
		}
		if n.ParentID == (spans.SpanID{}) || n.ParentID == n.SpanID {
			continue
		}
		candidates := find(n.ParentID)
		if len(candidates) == 0 {
			n.Orphan = true
			continue
		}
		n.Parent = f.bestParent(candidates, int32(i))
	}
}

func (f *Forest) callerSide(sharing []int32, self int32) int32 {
	for _, c := range sharing {
		if k := f.Nodes[c].Kind; c != self && (k == spans.KindClient || k == spans.KindProducer) {
			return c
		}
	}
	return None
}

// bestParent chooses among spans that share the id which a child names: the one on the child's own
// side, else, for a server span, the caller's side, else the callee's.
func (f *Forest) bestParent(candidates []int32, child int32) int32 {
	n := &f.Nodes[child]
	for _, c := range candidates {
		if f.Nodes[c].Instance == n.Instance {
			return c
		}
	}
	for _, c := range candidates {
		if f.Nodes[c].Service == n.Service {
			return c
		}
	}
	want := spans.KindServer
	if n.Kind == spans.KindServer {
		want = spans.KindClient
	}
	for _, c := range candidates {
		if f.Nodes[c].Kind == want {
			return c
		}
	}
	return candidates[0]
}

// cutCycles makes a root of the earliest node of every cycle.
func (f *Forest) cutCycles() {
	const walking, done = 1, 2
	state := make([]uint8, len(f.Nodes))
	var path []int32
	for i := range f.Nodes {
		path = path[:0]
		at := int32(i)
		for at != None && state[at] == 0 {
			state[at] = walking
			path = append(path, at)
			at = f.Nodes[at].Parent
		}
		if at != None && state[at] == walking {
			// Nodes are in order of their start: the smallest index of the cycle is its earliest.
			first := at
			for c := f.Nodes[at].Parent; c != at; c = f.Nodes[c].Parent {
				first = min(first, c)
			}
			f.Nodes[first].Parent = None
		}
		for _, p := range path {
			state[p] = done
		}
	}
}

// addPhantoms puts one phantom in the place of each missing span that can be said to have existed:
// as the server side of a call that names the orphans' service and contains them, or, without such
// a call, as what holds several orphans of one service together.
func (f *Forest) addPhantoms() {
	var orphans []int32
	hasChild := make([]bool, len(f.Nodes))
	for i := range f.Nodes {
		n := &f.Nodes[i]
		if n.Parent != None {
			hasChild[n.Parent] = true
		}
		// A server span's missing parent belongs to a caller that nobody knows.
		if n.Orphan && n.Kind != spans.KindServer && n.Kind != spans.KindConsumer {
			orphans = append(orphans, int32(i))
		}
	}
	slices.SortStableFunc(orphans, func(x, y int32) int {
		return bytes.Compare(f.Nodes[x].ParentID[:], f.Nodes[y].ParentID[:])
	})
	for from := 0; from < len(orphans); {
		to := from + 1
		for to < len(orphans) && f.Nodes[orphans[to]].ParentID == f.Nodes[orphans[from]].ParentID {
			to++
		}
		group := orphans[from:to]
		from = to
		first := &f.Nodes[group[0]]
		p := Node{
			SpanID: first.ParentID, Row: None, Parent: None, FirstChild: None, NextSib: None, Entry: None,
			Kind: spans.KindServer, Service: first.Service, Instance: first.Instance,
			StartNs: first.StartNs, EndNs: first.EndNs, Facts: Facts{GRPCCode: -1},
		}
		oneService := true
		for _, o := range group {
			n := &f.Nodes[o]
			oneService = oneService && n.Service == p.Service
			p.StartNs, p.EndNs = min(p.StartNs, n.StartNs), max(p.EndNs, n.EndNs)
			if n.Outcome.Level == Fail && n.EndNs == p.EndNs {
				p.Outcome = n.Outcome
			}
		}
		if !oneService {
			continue
		}
		p.Parent = f.callFor(&p, hasChild)
		if p.Parent == None && len(group) == 1 {
			continue // the orphan itself is the entry of its fragment
		}
		if p.Parent != None {
			hasChild[p.Parent] = true
			p.Outcome = Outcome{}
		}
		p.Orphan = p.Parent == None
		at := int32(len(f.Nodes))
		f.Nodes = append(f.Nodes, p)
		for _, o := range group {
			f.Nodes[o].Parent = at
		}
	}
}

// callFor finds the childless call whose missing server side the phantom is.
func (f *Forest) callFor(p *Node, hasChild []bool) int32 {
	const slackNs = 5_000_000 // clocks of two hosts rarely agree better
	service := f.Services[p.Service].Name
	best := None
	for i := range hasChild {
		n := &f.Nodes[i]
		if n.Kind != spans.KindClient || hasChild[i] || n.Service == p.Service ||
			n.StartNs > p.StartNs+slackNs || n.EndNs+slackNs < p.StartNs || !n.Facts.NamesService(service) {
			continue
		}
		if best == None || (n.Outcome.Level == Fail && f.Nodes[best].Outcome.Level != Fail) {
			best = int32(i)
		}
	}
	return best
}

// hang makes the lists of children, sets depths and entries, walking without recursion.
func (f *Forest) hang() {
	order := make([]int32, len(f.Nodes))
	for i := range order {
		order[i] = int32(i)
	}
	// Phantoms stand behind the spans; all others are in order already.
	slices.SortStableFunc(order, func(x, y int32) int { return cmp.Compare(f.Nodes[x].StartNs, f.Nodes[y].StartNs) })
	for _, i := range slices.Backward(order) {
		if n := &f.Nodes[i]; n.Parent != None {
			n.NextSib = f.Nodes[n.Parent].FirstChild
			f.Nodes[n.Parent].FirstChild = i
		}
	}
	var stack []int32
	for _, i := range order {
		if f.Nodes[i].Parent != None {
			continue
		}
		entry := int32(len(f.Entries))
		f.Entries = append(f.Entries, i)
		f.sizes = append(f.sizes, size{})
		stack = append(stack[:0], i)
		for len(stack) > 0 {
			at := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			f.Nodes[at].Entry = entry
			f.sizes[entry].total++
			if f.Nodes[at].Orphan || f.Nodes[at].Phantom() {
				f.sizes[entry].orphans++
			}
			for c := f.Nodes[at].FirstChild; c != None; c = f.Nodes[c].NextSib {
				f.Nodes[c].Depth = f.Nodes[at].Depth + 1
				stack = append(stack, c)
			}
		}
	}
}

func (f *Forest) markAsync() {
	for i := range f.Nodes {
		n := &f.Nodes[i]
		if n.Parent == None {
			continue
		}
		p := &f.Nodes[n.Parent]
		switch {
		case n.Kind == spans.KindConsumer, p.Kind == spans.KindProducer:
			n.Async = true
		case n.Instance == p.Instance && !p.NoDuration && !n.NoDuration && n.StartNs > p.EndNs:
			n.Async = true
		}
	}
}
