// Package trace builds the call forest of one trace from its spans: repaired where spans are
// missing, doubled or contradict each other, and with the outcome of every span read from its codes.
// It does no I/O and is independent of the order in which spans came in.
package trace

import (
	"unsafe"

	"github.com/whosehop/whosehop/storage/spans"
)

// None is "no node".
const None int32 = -1

// Forest is the repaired call forest of one trace. Its strings point into the block that it was
// built from: it lives no longer than that block's next Reset.
type Forest struct {
	ID spans.TraceID
	// Nodes are in an order that depends on the spans alone: by start, then by id.
	Nodes []Node
	// Entries are the nodes with which requests came in: roots, and the topmost spans of fragments.
	Entries []int32
	// Services are the distinct services (name and namespace) of the nodes.
	Services []Service
	// Instances are the processes that Node.Instance numbers.
	Instances []Instance
	// LeftOut counts the spans beyond the limit given to Build, which were not looked at.
	LeftOut int

	block *spans.Block
	sizes []size // of the entries' trees
}

type size struct{ total, orphans int }

// Service is a service that spans of the trace name as their own.
type Service struct {
	Name      string // "unnamed" where service.name is empty
	Namespace string
	Version   string
	resource  uint32
}

// Instance is a process that sent spans.
type Instance struct {
	// Clock names the clock that it reads: its host where that is known, else the process itself.
	Clock string
}

// Unnamed stands for a service whose spans carry no name.
const Unnamed = "unnamed"

// Node is one span of the forest, or a phantom: a span that must have existed because others name
// it as their parent, but that never arrived.
type Node struct {
	SpanID   spans.SpanID
	ParentID spans.SpanID
	Row      int32 // of the block, None for a phantom

	Parent     int32 // None for an entry
	FirstChild int32 // children hang in order of their start
	NextSib    int32
	Entry      int32 // the index in Forest.Entries of the tree it belongs to
	Depth      int32

	Kind    spans.Kind
	Service int32 // in Forest.Services
	// Instance tells processes apart, and so clocks: equal for spans of one resource.
	Instance int32

	StartNs int64
	EndNs   int64 // never before StartNs
	// NoDuration: the span ends before it starts, is dated zero, or takes over a day. It is still
	// evidence of what happened, but not of how long it took.
	NoDuration bool
	// Orphan: its parent was never received.
	Orphan bool
	// Async: the parent did not wait for it: a consumer, or begun after its parent had ended.
	Async bool

	Name    string
	Facts   Facts
	Outcome Outcome
}

// Phantom says whether the span itself never arrived.
func (n *Node) Phantom() bool { return n.Row == None }

// DurationNs is the span's length, 0 where it has none.
func (n *Node) DurationNs() int64 {
	if n.NoDuration {
		return 0
	}
	return n.EndNs - n.StartNs
}

// ServiceOf is the service of a node.
func (f *Forest) ServiceOf(i int32) *Service { return &f.Services[f.Nodes[i].Service] }

// Block is the block that the forest was built from.
func (f *Forest) Block() *spans.Block { return f.block }

// ResourceAttr looks an attribute of a service's resource up.
func (f *Forest) ResourceAttr(s *Service, key string) (string, bool) {
	v, ok := f.block.Resources.Attrs.Get(int(s.resource), key)
	return view(v), ok
}

// ServerSide is the span that the callee of a client or producer span sent, or its phantom; None
// where there is none.
func (f *Forest) ServerSide(i int32) int32 {
	for c := f.Nodes[i].FirstChild; c != None; c = f.Nodes[c].NextSib {
		if k := f.Nodes[c].Kind; k == spans.KindServer || k == spans.KindConsumer {
			return c
		}
	}
	return None
}

// SameClock says whether the times of two nodes may be compared.
func (f *Forest) SameClock(a, b int32) bool { return f.Nodes[a].Instance == f.Nodes[b].Instance }

// Completeness of an entry's tree, 0 to 1: a missing root halves it, orphans and phantoms lower it
// by their share.
func (f *Forest) Completeness(entry int32) float64 {
	total, orphans := f.sizes[entry].total, f.sizes[entry].orphans
	whole := 1.0
	if f.Nodes[f.Entries[entry]].Orphan {
		whole, orphans = 0.5, orphans-1
	}
	if f.LeftOut > 0 {
		whole *= float64(len(f.Nodes)) / float64(len(f.Nodes)+f.LeftOut)
	}
	return whole * float64(total-orphans) / float64(total)
}

// view is b as a string without a copy: the bytes belong to the block and do not change.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
