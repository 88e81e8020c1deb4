package main

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strconv"

	"github.com/whosehop/whosehop/storage/spans"
)

// services of the made-up system; service-0 takes the requests.
const services = 12

// maker appends realistic traces to a block: services that call each other over HTTP, with databases
// below them, every span with the attributes that an SDK gives it.
type maker struct {
	block *spans.Block
	rng   *rand.Rand
	ids   uint64
	now   int64
	trace spans.TraceID
	left  int    // spans that the trace may still have
	route string // of all its operations: traces of one size are one kind of request
}

func newMaker(seed uint64) *maker {
	m := &maker{block: new(spans.Block), rng: rand.New(rand.NewPCG(seed, 7)), now: 1_780_000_000_000_000_000, ids: seed << 40}
	b := m.block
	b.Scopes.Names.Append("bench")
	b.Scopes.Versions.Append("1")
	b.Scopes.Attrs.EndRow()
	b.Scopes.SchemaURLs.Append("")
	b.Scopes.DroppedAttrs = append(b.Scopes.DroppedAttrs, 0)
	for s := range services {
		name := "service-" + strconv.Itoa(s)
		b.Resources.Services.Append(name)
		for _, a := range [][2]string{
			{"service.name", name},
			{"service.version", "1.4.2"},
			{"service.instance.id", fmt.Sprintf("pod-%d", s)},
			{"host.name", fmt.Sprintf("node-%d", s%5)},
			{"telemetry.sdk.language", "go"},
			{"k8s.namespace.name", "shop"},
		} {
			b.Resources.Attrs.Pair(a[0], a[1])
		}
		b.Resources.Attrs.EndRow()
		b.Resources.SchemaURLs.Append("")
		b.Resources.DroppedAttrs = append(b.Resources.DroppedAttrs, 0)
	}
	return m
}

// outcome of a made-up trace.
type outcome int

const (
	healthy outcome = iota
	failing         // the deepest operation of the first branch throws
	slow            // it takes ten times as long
)

// add appends a trace of about so many spans; depth bounds how far calls go down.
func (m *maker) add(size, depth int, how outcome) {
	m.ids++
	binary.BigEndian.PutUint64(m.trace[8:], m.ids*0x9e3779b97f4a7c15)
	binary.BigEndian.PutUint64(m.trace[:8], m.ids)
	m.left, m.route = size, "GET /v1/items"+strconv.Itoa(size)+"/{id}"
	m.now += 1_000_000
	m.server(spans.SpanID{}, 0, depth, m.now, how)
}

func (m *maker) id() (id spans.SpanID) {
	m.ids++
	binary.BigEndian.PutUint64(id[:], m.ids*0xbf58476d1ce4e5b9)
	return id
}

// server appends an operation with its calls and says when it ended. Calls go one after the other.
func (m *maker) server(parent spans.SpanID, service, depth int, at int64, how outcome) (end int64, failed bool) {
	m.left--
	id := m.id()
	start, end := at, at+500_000+m.rng.Int64N(200_000)
	calls := 2 + m.rng.IntN(3)
	leaf := true
	for k := 0; k < calls && m.left >= 2; k++ {
		inner := healthy
		if k == 0 {
			inner = how
		}
		callee := (service*3 + k + 1) % services
		if depth > 1 && m.left >= 3 && (k < calls-1 || service%3 != 0) {
			leaf = false
			call := m.id()
			m.left--
			ended, bad := m.server(call, callee, depth-1, end+200_000, inner)
			m.client(id, call, service, callee, end, ended+200_000, bad)
			end, failed = ended+300_000, failed || bad
			continue
		}
		m.left--
		took := 1_000_000 + m.rng.Int64N(500_000)
		m.query(id, service, end, end+took)
		end += took + 50_000
	}
	if leaf && how == slow {
		end += 200_000_000
	}
	if leaf && how == failing {
		failed = true
	}
	m.span(id, parent, service, spans.KindServer, m.route, start, end, failed)
	b := m.block
	m.attr("http.request.method", "GET")
	m.attr("http.route", m.route[4:])
	m.attr("url.path", "/v1/items/4711")
	m.attr("url.scheme", "http")
	m.attr("server.address", "service-"+strconv.Itoa(service))
	m.attr("http.response.status_code", code(failed))
	m.attr("network.protocol.version", "1.1")
	m.attr("user_agent.original", "Go-http-client/1.1")
	b.Attrs.EndRow()
	if leaf && how == failing {
		b.Events.TimeNs = append(b.Events.TimeNs, end-1000)
		b.Events.Names.Append("exception")
		b.Events.Attrs.Pair("exception.type", "NullPointerException")
		b.Events.Attrs.Pair("exception.message", "item 4711 has no price")
		b.Events.Attrs.EndRow()
		b.Events.DroppedAttrs = append(b.Events.DroppedAttrs, 0)
	}
	m.close()
	return end, failed
}

func code(failed bool) string {
	if failed {
		return "500"
	}
	return "200"
}

func (m *maker) client(parent, id spans.SpanID, service, callee int, start, end int64, failed bool) {
	m.span(id, parent, service, spans.KindClient, "GET", start, end, failed)
	m.attr("http.request.method", "GET")
	m.attr("url.full", "http://service-"+strconv.Itoa(callee)+":8080/v1/items/4711")
	m.attr("server.address", "service-"+strconv.Itoa(callee))
	m.attr("server.port", "8080")
	m.attr("http.response.status_code", code(failed))
	if failed {
		m.attr("error.type", "500")
	}
	m.block.Attrs.EndRow()
	m.close()
}

func (m *maker) query(parent spans.SpanID, service int, start, end int64) {
	m.span(m.id(), parent, service, spans.KindClient, "SELECT items", start, end, false)
	m.attr("db.system.name", "postgresql")
	m.attr("db.namespace", "items")
	m.attr("db.query.text", "SELECT * FROM items WHERE id = ?")
	m.attr("db.operation.name", "SELECT")
	m.attr("server.address", "pg-main")
	m.block.Attrs.EndRow()
	m.close()
}

func (m *maker) attr(key, value string) { m.block.Attrs.Pair(key, value) }

func (m *maker) span(id, parent spans.SpanID, service int, kind spans.Kind, name string, start, end int64, failed bool) {
	b := m.block
	b.ResourceOf = append(b.ResourceOf, uint32(service))
	b.ScopeOf = append(b.ScopeOf, 0)
	b.TraceIDs = append(b.TraceIDs, m.trace)
	b.SpanIDs, b.ParentIDs = append(b.SpanIDs, id), append(b.ParentIDs, parent)
	b.StartNs, b.EndNs = append(b.StartNs, start), append(b.EndNs, end)
	status := spans.StatusUnset
	if failed {
		status = spans.StatusError
	}
	b.Kinds, b.Statuses, b.Flags = append(b.Kinds, kind), append(b.Statuses, status), append(b.Flags, 0)
	b.Names.Append(name)
	b.TraceStates.Append("")
	b.StatusMessages.Append("")
}

// close closes the rows of the span's lists.
func (m *maker) close() {
	b := m.block
	b.DroppedAttrs = append(b.DroppedAttrs, 0)
	b.DroppedEvents = append(b.DroppedEvents, 0)
	b.DroppedLinks = append(b.DroppedLinks, 0)
	b.EventEnds = append(b.EventEnds, uint32(len(b.Events.TimeNs)))
	b.LinkEnds = append(b.LinkEnds, uint32(len(b.Links.TraceIDs)))
}

// chain appends a trace in which every operation makes one call, the last of which fails.
func (m *maker) chain(size int) {
	m.ids++
	binary.BigEndian.PutUint64(m.trace[8:], m.ids*0x9e3779b97f4a7c15)
	parent := spans.SpanID{}
	for k := 0; k < size; k += 2 {
		at, end := m.now+int64(k)*1000, m.now+int64(3*size-k)*1000
		server, call := m.id(), m.id()
		m.span(server, parent, k/2%services, spans.KindServer, "GET /v1/items/{id}", at, end, true)
		m.attr("http.response.status_code", "500")
		m.block.Attrs.EndRow()
		m.close()
		if k+2 < size {
			m.client(server, call, k/2%services, (k/2+1)%services, at+500, end-500, true)
		}
		parent = call
	}
}
