package trace

import (
	"bytes"
	"cmp"
	"encoding/binary"
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
	index := make(map[spans.TraceID]uint32)
	of := make([]uint32, b.Len())
	var groups []Rows
	var ends []uint32 // first how many rows a group has, then where its next row goes
	for i, id := range b.TraceIDs {
		g, ok := index[id]
		if !ok {
			g = uint32(len(groups))
			index[id] = g
			groups, ends = append(groups, Rows{ID: id}), append(ends, 0)
		}
		of[i] = g
		ends[g]++
	}
	rows := make([]uint32, b.Len())
	from := uint32(0)
	for g, n := range ends {
		groups[g].Rows = rows[from : from+n : from+n]
		ends[g], from = from, from+n
	}
	for i, g := range of {
		rows[ends[g]] = uint32(i)
		ends[g]++
	}
	slices.SortFunc(groups, func(x, y Rows) int { return bytes.Compare(x.ID[:], y.ID[:]) })
	return groups
}

// Build makes the call forest of the spans in rows, which must be of one trace. No more than limit
// spans are looked at, the earliest ones; 0 means all.
func Build(b *spans.Block, rows []uint32, limit int) *Forest { return NewBuilder(b).Build(rows, limit) }

// Builder makes forests of one block, one after the other, in the same memory.
type Builder struct {
	f Forest
	interner
	classes  classes
	keys     []key
	byID     []int32 // nodes in the order of their ids
	order    []int32
	orphans  []int32
	stack    []int32
	state    []uint8
	hasChild []bool
}

// NewBuilder makes a builder for the block as it is now.
func NewBuilder(b *spans.Block) *Builder {
	bu := &Builder{f: Forest{block: b}}
	bu.resources = make([]resource, b.Resources.Services.Len())
	return bu
}

// Build makes a forest that is good until the next one is made; otherwise it is like the function.
func (bu *Builder) Build(rows []uint32, limit int) *Forest {
	f, b := &bu.f, bu.f.block
	f.Nodes, f.Entries, f.sizes = f.Nodes[:0], f.Entries[:0], f.sizes[:0]
	f.Services, f.Instances = f.Services[:0], f.Instances[:0]
	f.LeftOut = 0
	bu.epoch++
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
	bu.addNodes(rows)
	bu.link()
	bu.cutCycles()
	bu.addPhantoms()
	bu.hang()
	f.markAsync()
	return f
}

// key is what spans are put in order by, before they become nodes.
type key struct {
	start    int64
	id       uint64
	row      uint32
	instance int32 // among all of the block
	rank     int32 // by id
	kind     spans.Kind
}

// addNodes makes a node of each distinct span; spans without an id name nothing and are left out.
func (bu *Builder) addNodes(rows []uint32) {
	f, b := &bu.f, bu.f.block
	bu.keys = bu.keys[:0]
	for _, row := range rows {
		i := int(row)
		if b.SpanIDs[i] == (spans.SpanID{}) {
			continue
		}
		r := bu.resource(b, b.ResourceOf[i])
		bu.keys = append(bu.keys, key{
			start: b.StartNs[i], id: binary.BigEndian.Uint64(b.SpanIDs[i][:]), row: row, instance: r.instance, kind: b.Kinds[i],
		})
	}
	// One span sent several times: keep the most complete copy.
	slices.SortFunc(bu.keys, func(x, y key) int {
		if x.id != y.id {
			return cmp.Compare(x.id, y.id)
		}
		return cmp.Or(
			cmp.Compare(x.kind, y.kind),
			strings.Compare(bu.instances[x.instance].key, bu.instances[y.instance].key),
			cmp.Compare(endOf(b, y.row), endOf(b, x.row)),
			cmp.Compare(b.Statuses[y.row], b.Statuses[x.row]),
			cmp.Compare(x.start, y.start),
			bytes.Compare(b.Names.At(int(x.row)), b.Names.At(int(y.row))),
		)
	})
	bu.keys = slices.CompactFunc(bu.keys, func(x, y key) bool {
		return x.id == y.id && x.kind == y.kind && x.instance == y.instance
	})
	for k := range bu.keys {
		bu.keys[k].rank = int32(k)
	}
	slices.SortFunc(bu.keys, func(x, y key) int {
		if x.start != y.start {
			return cmp.Compare(x.start, y.start)
		}
		return cmp.Compare(x.rank, y.rank)
	})
	bu.byID = slices.Grow(bu.byID[:0], len(bu.keys))[:len(bu.keys)]
	f.Nodes = slices.Grow(f.Nodes[:0], len(bu.keys)+2)
	for k := range bu.keys {
		bu.byID[bu.keys[k].rank] = int32(k)
		row := int32(bu.keys[k].row)
		r := bu.resource(b, b.ResourceOf[row])
		f.Nodes = append(f.Nodes, Node{
			SpanID: b.SpanIDs[row], ParentID: b.ParentIDs[row], Row: row,
			Parent: None, FirstChild: None, NextSib: None, Entry: None,
			Kind: b.Kinds[row], Service: bu.serviceIn(f, r), Instance: bu.instanceIn(f, r.instance),
			StartNs: b.StartNs[row], EndNs: b.EndNs[row], Name: view(b.Names.At(int(row))),
		})
		n := &f.Nodes[k]
		if n.EndNs < n.StartNs || n.StartNs <= 0 || n.EndNs-n.StartNs > dayNs {
			n.NoDuration, n.EndNs = true, n.StartNs
		}
		readFacts(&n.Facts, b, int(row), n.Kind)
		n.Outcome = bu.classes.outcome(&n.Facts, b.Statuses[row], n.Kind)
	}
}

// endOf is when a span ends as far as that is believed.
func endOf(b *spans.Block, row uint32) int64 {
	start, end := b.StartNs[row], b.EndNs[row]
	if end < start || start <= 0 || end-start > dayNs {
		return start
	}
	return end
}

// interner numbers services and instances. Resources are told apart by what they say, not by their
// row: the same process may have sent several requests.
type interner struct {
	resources []resource // by row of the block
	services  []serviceOf
	instances []instanceOf
	byKey     map[string]int32 // instances
	byName    map[[2]string]int32
	epoch     uint32 // of the forest that is being made
}

type resource struct {
	known             bool
	service, instance int32 // among all of the block
	row               uint32
}

type serviceOf struct {
	Service
	// in is the number in the forest of the epoch.
	epoch uint32
	in    int32
}

type instanceOf struct {
	Instance
	key   string
	epoch uint32
	in    int32
}

func (in *interner) resource(b *spans.Block, row uint32) *resource {
	r := &in.resources[row]
	if !r.known {
		in.read(b, row)
	}
	return r
}

func (in *interner) read(b *spans.Block, row uint32) {
	get := func(key string) string {
		v, _ := b.Resources.Attrs.Get(int(row), key)
		return view(v)
	}
	name, namespace := view(b.Resources.Services.At(int(row))), get("service.namespace")
	if name == "" {
		name = Unnamed
	}
	if in.byKey == nil {
		in.byKey, in.byName = make(map[string]int32), make(map[[2]string]int32)
	}
	service, ok := in.byName[[2]string{name, namespace}]
	if !ok {
		service = int32(len(in.services))
		in.byName[[2]string{name, namespace}] = service
		in.services = append(in.services, serviceOf{Service: Service{Name: name, Namespace: namespace}})
	}
	key := namespace + "\x00" + name + "\x00" + get("service.instance.id") + "\x00" + get("host.name") + "\x00" +
		get("k8s.pod.name") + "\x00" + get("container.id") + "\x00" + get("process.pid")
	instance, ok := in.byKey[key]
	if !ok {
		instance = int32(len(in.instances))
		in.byKey[key] = instance
		clock := cmp.Or(get("host.id"), get("k8s.node.name"), get("host.name"), get("service.instance.id"), get("k8s.pod.name"), get("container.id"))
		in.instances = append(in.instances, instanceOf{key: key, Instance: Instance{Clock: cmp.Or(clock, name)}})
	}
	in.resources[row] = resource{known: true, service: service, instance: instance, row: row}
}

// serviceIn is the number of the resource's service in the forest; its newest version counts.
func (in *interner) serviceIn(f *Forest, r *resource) int32 {
	s := &in.services[r.service]
	version, _ := f.block.Resources.Attrs.Get(int(r.row), "service.version")
	if s.epoch != in.epoch {
		s.epoch, s.in = in.epoch, int32(len(f.Services))
		f.Services = append(f.Services, Service{Name: s.Name, Namespace: s.Namespace, Version: view(version), resource: r.row})
	} else if known := &f.Services[s.in]; view(version) > known.Version {
		known.Version, known.resource = view(version), r.row
	}
	return s.in
}

func (in *interner) instanceIn(f *Forest, instance int32) int32 {
	i := &in.instances[instance]
	if i.epoch != in.epoch {
		i.epoch, i.in = in.epoch, int32(len(f.Instances))
		f.Instances = append(f.Instances, i.Instance)
	}
	return i.in
}

// link finds every node's parent.
func (bu *Builder) link() {
	f, byID := &bu.f, bu.byID
	find := func(id spans.SpanID) []int32 {
		want := binary.BigEndian.Uint64(id[:])
		from, to := 0, len(byID)
		for from < to {
			middle := int(uint(from+to) >> 1)
			if binary.BigEndian.Uint64(f.Nodes[byID[middle]].SpanID[:]) < want {
				from = middle + 1
			} else {
				to = middle
			}
		}
		for to = from; to < len(byID) && f.Nodes[byID[to]].SpanID == id; to++ {
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
func (bu *Builder) cutCycles() {
	const walking, done = 1, 2
	f := &bu.f
	state := slices.Grow(bu.state[:0], len(f.Nodes))[:len(f.Nodes)]
	clear(state)
	bu.state = state
	path := bu.stack
	defer func() { bu.stack = path }()
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
func (bu *Builder) addPhantoms() {
	f, orphans := &bu.f, bu.orphans[:0]
	hasChild := slices.Grow(bu.hasChild[:0], len(f.Nodes))[:len(f.Nodes)]
	clear(hasChild)
	bu.hasChild = hasChild
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
	bu.orphans = orphans
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
		p.Parent = f.callFor(&p, group, hasChild)
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
func (f *Forest) callFor(p *Node, orphans []int32, hasChild []bool) int32 {
	const slackNs = 5_000_000 // clocks of two hosts rarely agree better
	service := f.Services[p.Service].Name
	best := None
	for i := range hasChild {
		n := &f.Nodes[i]
		if n.Kind != spans.KindClient || hasChild[i] || n.Service == p.Service ||
			n.StartNs > p.StartNs+slackNs || n.EndNs+slackNs < p.StartNs || !n.Facts.NamesService(service) ||
			f.below(int32(i), orphans) {
			continue
		}
		if best == None || (n.Outcome.Level == Fail && f.Nodes[best].Outcome.Level != Fail) {
			best = int32(i)
		}
	}
	return best
}

// below says whether a node is a descendant of one of others.
func (f *Forest) below(i int32, others []int32) bool {
	for ; i != None; i = f.Nodes[i].Parent {
		if slices.Contains(others, i) {
			return true
		}
	}
	return false
}

// hang makes the lists of children, sets depths and entries, walking without recursion.
func (bu *Builder) hang() {
	f := &bu.f
	order := bu.order[:0]
	for i := range f.Nodes {
		order = append(order, int32(i))
	}
	bu.order = order
	if len(f.Nodes) > len(bu.keys) {
		// Phantoms stand behind the spans; all others are in order already.
		slices.SortStableFunc(order, func(x, y int32) int { return cmp.Compare(f.Nodes[x].StartNs, f.Nodes[y].StartNs) })
	}
	for _, i := range slices.Backward(order) {
		if n := &f.Nodes[i]; n.Parent != None {
			n.NextSib = f.Nodes[n.Parent].FirstChild
			f.Nodes[n.Parent].FirstChild = i
		}
	}
	stack := bu.stack
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
	bu.stack = stack
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
