package main

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/whosehop/whosehop/storage/spans"
)

// template is a trace that was played once: many are stored that differ in ids, times, instances and the digits of their
// numbers.
type template struct {
	spans []stamp
	ns    int64 // until the last span has ended
}

// stamp is a span of a template.
type stamp struct {
	service    int
	parent     int
	kind       spans.Kind
	status     spans.Status
	name       string
	message    string
	start, end int64
	keys       packedTexts
	values     packedTexts
	digits     []digit // in values
	thrown     []string
}

// packedTexts are rows of a spans.Text.
type packedTexts struct {
	bytes []byte
	ends  []uint32
}

func (t *packedTexts) add(text string) {
	t.bytes = append(t.bytes, text...)
	t.ends = append(t.ends, uint32(len(t.bytes)))
}

func (t *packedTexts) appendTo(to *spans.Text) {
	at := uint32(len(to.Bytes))
	to.Bytes = append(to.Bytes, t.bytes...)
	for _, end := range t.ends {
		to.Ends = append(to.Ends, at+end)
	}
}

// digit is where one of a trace's own digits belongs.
type digit struct {
	at        int
	kind, nth uint8
}

func newTemplate(played []span) *template {
	t := &template{}
	for i := range played {
		s := &played[i]
		t.ns = max(t.ns, s.end)
		p := stamp{service: s.service.number, parent: s.parent, kind: s.kind, status: s.status, name: s.name, message: s.message, start: s.start, end: s.end}
		for _, a := range s.attributes {
			p.keys.add(a[0])
			at, nth := len(p.values.bytes), uint8(0)
			p.values.add(a[1])
			for k := range len(a[1]) {
				if kind := a[1][k]; kind < digitKinds {
					p.digits = append(p.digits, digit{at + k, kind, nth % 8})
					nth++
				}
			}
		}
		if s.thrownBy != "" {
			p.thrown = []string{"exception.type", s.thrownBy, "exception.message", s.thrown}
		}
		t.spans = append(t.spans, p)
	}
	return t
}

const instances = 3 // of each service

// writer puts traces into a block.
type writer struct {
	block     spans.Block
	random    *rand.Rand
	services  []*service
	faults    []*fault
	versions  []string // by service, at
	resources []int    // by service and instance, -1 where the block has none yet
	ids       []spans.SpanID
}

func newWriter(list []*service, faults []*fault) *writer {
	return &writer{random: rand.New(rand.NewPCG(1, 1)), services: list, faults: faults, versions: make([]string, len(list)), resources: make([]int, len(list)*instances)}
}

// begin empties the block: the next traces are of about this time.
func (w *writer) begin(at time.Time) {
	w.block.Reset()
	w.random = rand.New(rand.NewPCG(uint64(at.UnixNano()), 7))
	scopes := &w.block.Scopes
	scopes.Names.Append("io.opentelemetry.auto")
	scopes.Versions.Append("2.21.0")
	scopes.Attrs.EndRow()
	scopes.SchemaURLs.Append("https://opentelemetry.io/schemas/1.37.0")
	scopes.DroppedAttrs = append(scopes.DroppedAttrs, 0)
	w.deploy(at)
}

// deploy brings services to the versions that they have at a time: one that changed has other resources from then on.
func (w *writer) deploy(at time.Time) {
	for i, s := range w.services {
		n := 0
		for _, f := range w.faults {
			if f.deploy && f.on.service == s {
				n += f.version(at)
			}
		}
		w.versions[i] = fmt.Sprintf("2.%d.%d", i%7, n%1000)
	}
	for i := range w.resources {
		w.resources[i] = -1
	}
}

func (w *writer) resource(service, instance int) uint32 {
	known := &w.resources[service*instances+instance]
	if *known < 0 {
		r := &w.block.Resources
		*known = r.Services.Len()
		name := w.services[service].name
		r.Services.Append(name)
		pod := fmt.Sprintf("%s-7d9c6b5f4-%05x", name, instance*7919+service*31+1)
		for _, pair := range [][2]string{
			{"service.name", name},
			{"service.version", w.versions[service]},
			{"service.instance.id", pod},
			{"deployment.environment.name", "production"},
			{"k8s.pod.name", pod},
			{"k8s.node.name", fmt.Sprintf("node-%d.eu-west-1.internal", (service+instance)%12)},
			{"telemetry.sdk.language", []string{"java", "go", "python", "nodejs"}[service%4]},
			{"telemetry.sdk.name", "opentelemetry"},
		} {
			r.Attrs.Pair(pair[0], pair[1])
		}
		r.Attrs.EndRow()
		r.SchemaURLs.Append("https://opentelemetry.io/schemas/1.37.0")
		r.DroppedAttrs = append(r.DroppedAttrs, 0)
	}
	return uint32(*known)
}

// add adds a trace of its own that begins at a time; slower stretches it, in parts of 1024.
func (w *writer) add(t *template, id spans.TraceID, at, slower int64) {
	b := &w.block
	var numbers [digitKinds][8]byte
	for k := range numbers {
		number := w.random.Uint32N(100_000_000)
		if k == userDigit {
			number %= 200_000 * 100 // some come often
		}
		for d := range 8 {
			numbers[k][d] = '0' + byte(number%10)
			number /= 10
		}
	}
	where := w.random.IntN(instances)
	w.ids = w.ids[:0]
	for i := range t.spans {
		s := &t.spans[i]
		var span spans.SpanID
		binary.LittleEndian.PutUint64(span[:], w.random.Uint64()|1)
		w.ids = append(w.ids, span)
		var parent spans.SpanID
		if s.parent >= 0 {
			parent = w.ids[s.parent]
		}
		b.TraceIDs, b.SpanIDs, b.ParentIDs = append(b.TraceIDs, id), append(b.SpanIDs, span), append(b.ParentIDs, parent)
		b.StartNs, b.EndNs = append(b.StartNs, at+s.start*slower/1024), append(b.EndNs, at+s.end*slower/1024)
		b.Kinds, b.Statuses, b.Flags = append(b.Kinds, s.kind), append(b.Statuses, s.status), append(b.Flags, 0x101)
		b.Names.Append(s.name)
		b.TraceStates.Append("")
		b.StatusMessages.Append(s.message)
		from := len(b.Attrs.Values.Bytes)
		s.keys.appendTo(&b.Attrs.Keys)
		s.values.appendTo(&b.Attrs.Values)
		b.Attrs.EndRow()
		for _, d := range s.digits {
			b.Attrs.Values.Bytes[from+d.at] = numbers[d.kind][d.nth]
		}
		b.DroppedAttrs, b.DroppedEvents, b.DroppedLinks = append(b.DroppedAttrs, 0), append(b.DroppedEvents, 0), append(b.DroppedLinks, 0)
		if s.thrown != nil {
			e := &b.Events
			e.TimeNs, e.DroppedAttrs = append(e.TimeNs, at+s.end*slower/1024), append(e.DroppedAttrs, 0)
			e.Names.Append("exception")
			e.Attrs.Pair(s.thrown[0], s.thrown[1])
			e.Attrs.Pair(s.thrown[2], s.thrown[3])
			e.Attrs.EndRow()
		}
		b.EventEnds, b.LinkEnds = append(b.EventEnds, uint32(len(b.Events.TimeNs))), append(b.LinkEnds, 0)
		b.ResourceOf = append(b.ResourceOf, w.resource(s.service, (where+s.service)%instances))
		b.ScopeOf = append(b.ScopeOf, 0)
	}
}
