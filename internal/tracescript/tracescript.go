// Package tracescript reads traces written as people draw them, for tests:
//
//	checkout SERVER POST /pay 0..120ms 500
//	  checkout CLIENT pay.Charge 5..105ms grpc=DEADLINE_EXCEEDED @pay
//	    pay SERVER pay.Charge 8..900ms grpc=OK
//
// A line is a span: service, kind, name, start..end in milliseconds, then words: an HTTP status, grpc=CODE,
// error (the span status), says="the span status's message", @host[:port] (the callee's address),
// exc=Type or exc="Type: message at the end of the span" (exc@12.5= for one at 12.5 ms), resend=N,
// id=X (a span id), parent=X, link=X, lost (the span was never received), v=1.2 (the service's version),
// host=X (its host), res:key=value (of the resource), key=value (any attribute). Indentation by two spaces
// makes it a child. # begins a comment.
//
// A script may hold several traces, each under a header: see Section.
package tracescript

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/whosehop/whosehop/storage/spans"
)

// epochNs is when the traces of scripts begin.
const epochNs = int64(1_780_000_000_000_000_000)

// Span is one line of a script.
type Span struct {
	ID, Parent     spans.SpanID
	Service, Name  string
	Kind           spans.Kind
	Status         spans.Status
	StatusMessage  string
	StartNs, EndNs int64
	Attrs          [][2]string
	Resource       [][2]string
	ExceptionType  string
	ExceptionText  string
	ExceptionNs    int64 // 0: the end of the span
	Link           spans.SpanID
	Lost           bool
}

// Section is a trace of a script, and how often and when it was seen:
//
//	at -600s..-60s x20 ~10% clock:pay=+80ms
//
// twenty of them, evenly spread over the time from ten minutes to one minute before the time that
// scripts begin at, each up to 10 % faster or slower than it is drawn; clocks that are called pay, by
// service or host, are 80 ms ahead. All but at is optional; without any header a script is one trace.
type Section struct {
	FromNs, ToNs int64
	Times        int
	Spread       float64
	Spans        []Span

	clocks map[string]int64
}

// Traces are the section's traces, in the order of their time.
func (s *Section) Traces() [][]Span {
	traces := make([][]Span, s.Times)
	for k := range traces {
		shiftNs, factor := s.FromNs, 1.0
		if s.Times > 1 {
			shiftNs += (s.ToNs - s.FromNs) / int64(s.Times-1) * int64(k)
		}
		if s.Spread > 0 {
			const golden = 0.6180339887498949 // its multiples fill a range evenly
			_, place := math.Modf(golden * float64(k+1))
			factor += s.Spread * (2*place - 1)
		}
		at := func(ns int64) int64 { return epochNs + int64(float64(ns-epochNs)*factor) + shiftNs }
		traces[k] = slices.Clone(s.Spans)
		for i := range traces[k] {
			sp := &traces[k][i]
			aheadNs := s.clocks[sp.Service]
			for _, r := range sp.Resource {
				if r[0] == "host.name" {
					aheadNs += s.clocks[r[1]]
				}
			}
			sp.StartNs, sp.EndNs = at(sp.StartNs)+aheadNs, at(sp.EndNs)+aheadNs
			if sp.ExceptionNs != 0 {
				sp.ExceptionNs = at(sp.ExceptionNs) + aheadNs
			}
		}
	}
	return traces
}

// Sections reads a script of several traces.
func Sections(script string) ([]Section, error) {
	var sections []Section
	var body strings.Builder // what came before is blank, so that line numbers are right
	end := func() (err error) {
		if len(sections) > 0 {
			sections[len(sections)-1].Spans, err = Parse(body.String())
		}
		blank := strings.Repeat("\n", strings.Count(body.String(), "\n"))
		body.Reset()
		body.WriteString(blank)
		return err
	}
	for line := range strings.Lines(script) {
		header := strings.HasPrefix(line, "at ")
		if header || len(sections) == 0 && strings.TrimSpace(line) != "" && !strings.HasPrefix(line, "#") {
			if err := end(); err != nil {
				return nil, err
			}
			sections = append(sections, Section{Times: 1})
		}
		if header {
			if err := sections[len(sections)-1].header(strings.Fields(line)[1:]); err != nil {
				return nil, fmt.Errorf("%q: %w", strings.TrimSpace(line), err)
			}
			line = "\n"
		}
		body.WriteString(line)
	}
	return sections, end()
}

func (s *Section) header(words []string) error {
	for k, w := range words {
		var err error
		switch {
		case k == 0:
			from, to, both := strings.Cut(w, "..")
			if s.FromNs, err = durationNs(from); err == nil {
				s.ToNs = s.FromNs
				if both {
					s.ToNs, err = durationNs(to)
				}
			}
		case strings.HasPrefix(w, "x"):
			s.Times, err = strconv.Atoi(w[1:])
		case strings.HasPrefix(w, "~"):
			s.Spread, err = strconv.ParseFloat(strings.TrimSuffix(w[1:], "%"), 64)
			s.Spread /= 100
		case strings.HasPrefix(w, "clock:"):
			name, ahead, _ := strings.Cut(w[len("clock:"):], "=")
			if s.clocks == nil {
				s.clocks = make(map[string]int64)
			}
			s.clocks[name], err = durationNs(ahead)
		default:
			err = fmt.Errorf("unknown word %q", w)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func durationNs(text string) (int64, error) {
	d, err := time.ParseDuration(text)
	return d.Nanoseconds(), err
}

// Parse reads a script of one trace; line numbers are in its errors.
func Parse(script string) ([]Span, error) {
	var list []Span
	var open []spans.SpanID // by depth
	lines := bufio.NewScanner(strings.NewReader(script))
	for number := 1; lines.Scan(); number++ {
		text, _, _ := strings.Cut(lines.Text(), "#")
		line := strings.TrimLeft(text, " ")
		if strings.TrimSpace(line) == "" {
			continue
		}
		depth := (len(text) - len(line)) / 2
		s, err := parseLine(line, number)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		if depth > len(open) {
			return nil, fmt.Errorf("line %d: indented deeper than any parent", number)
		}
		if depth > 0 && s.Parent == (spans.SpanID{}) {
			s.Parent = open[depth-1]
		}
		open = append(open[:depth], s.ID)
		list = append(list, s)
	}
	return list, nil
}

var kinds = map[string]spans.Kind{
	"INTERNAL": spans.KindInternal, "SERVER": spans.KindServer, "CLIENT": spans.KindClient,
	"PRODUCER": spans.KindProducer, "CONSUMER": spans.KindConsumer,
}

func parseLine(line string, number int) (Span, error) {
	words := split(line)
	s := Span{ID: id(strconv.Itoa(number))}
	if len(words) < 4 {
		return s, fmt.Errorf("want SERVICE KIND NAME START..END, have %q", line)
	}
	s.Service = words[0]
	kind, ok := kinds[words[1]]
	if !ok {
		return s, fmt.Errorf("unknown kind %q", words[1])
	}
	s.Kind = kind
	at := 2
	for at < len(words) && !isTimes(words[at]) {
		at++
	}
	if at == len(words) {
		return s, fmt.Errorf("no START..END in %q", line)
	}
	s.Name = strings.Join(words[2:at], " ")
	from, to, _ := strings.Cut(strings.TrimSuffix(words[at], "ms"), "..")
	start, err1 := strconv.ParseFloat(from, 64)
	end, err2 := strconv.ParseFloat(to, 64)
	if err1 != nil || err2 != nil {
		return s, fmt.Errorf("times %q", words[at])
	}
	s.StartNs, s.EndNs = epochNs+int64(start*1e6), epochNs+int64(end*1e6)
	for _, w := range words[at+1:] {
		s.word(w)
	}
	return s, nil
}

func isTimes(w string) bool {
	from, to, ok := strings.Cut(strings.TrimSuffix(w, "ms"), "..")
	if !ok {
		return false
	}
	_, err1 := strconv.ParseFloat(from, 64)
	_, err2 := strconv.ParseFloat(to, 64)
	return err1 == nil && err2 == nil
}

func (s *Span) word(w string) {
	key, value, assigned := strings.Cut(w, "=")
	_, notNumber := strconv.Atoi(w)
	switch {
	case notNumber == nil:
		s.attr("http.response.status_code", w)
		if code, _ := strconv.Atoi(w); code >= 500 || (code >= 400 && s.Kind == spans.KindClient) {
			s.Status = spans.StatusError
		}
	case w == "error":
		s.Status = spans.StatusError
	case w == "lost":
		s.Lost = true
	case strings.HasPrefix(w, "@"):
		host, port, ported := strings.Cut(w[1:], ":")
		s.attr("server.address", host)
		if ported {
			s.attr("server.port", port)
		}
	case !assigned:
		s.attr(w, "true")
	case key == "grpc":
		s.grpc(value)
	case key == "exc" || strings.HasPrefix(key, "exc@"):
		s.ExceptionType, s.ExceptionText, _ = strings.Cut(value, ": ")
		if ms, err := strconv.ParseFloat(strings.TrimPrefix(key, "exc@"), 64); err == nil {
			s.ExceptionNs = epochNs + int64(ms*1e6)
		}
	case key == "says":
		s.StatusMessage = value
	case key == "v":
		s.Resource = append(s.Resource, [2]string{"service.version", value})
	case key == "host":
		s.Resource = append(s.Resource, [2]string{"host.name", value})
	case key == "resend":
		s.attr("http.request.resend_count", value)
	case key == "id":
		s.ID = id(value)
	case key == "parent":
		s.Parent = id(value)
	case key == "link":
		s.Link = id(value)
	case strings.HasPrefix(key, "res:"):
		s.Resource = append(s.Resource, [2]string{key[4:], value})
	default:
		s.attr(key, value)
	}
}

var grpcCodes = []string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
	"RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}

// grpc sets the code, and the status as the conventions say: by kind.
func (s *Span) grpc(word string) {
	for code, name := range grpcCodes {
		if name != word {
			continue
		}
		s.attr("rpc.system", "grpc")
		s.attr("rpc.grpc.status_code", strconv.Itoa(code))
		server := code == 2 || code == 4 || code == 12 || code == 13 || code == 14 || code == 15
		if code != 0 && (s.Kind == spans.KindClient || server) {
			s.Status = spans.StatusError
		}
	}
}

func (s *Span) attr(key, value string) { s.Attrs = append(s.Attrs, [2]string{key, value}) }

// id makes eight bytes of a word; a number is that number.
func id(word string) spans.SpanID {
	var out spans.SpanID
	if n, err := strconv.ParseUint(word, 10, 64); err == nil {
		binary.BigEndian.PutUint64(out[:], n)
		return out
	}
	copy(out[:], word)
	return out
}

// split cuts at spaces outside of double quotes, and drops the quotes.
func split(line string) []string {
	var words []string
	var word strings.Builder
	quoted := false
	for _, r := range line + " " {
		switch {
		case r == '"':
			quoted = !quoted
		case r == ' ' && !quoted:
			if word.Len() > 0 {
				words = append(words, word.String())
				word.Reset()
			}
		default:
			word.WriteRune(r)
		}
	}
	return words
}

// Block puts spans into a block, as one trace with the given id.
func Block(list []Span, id spans.TraceID) *spans.Block {
	b := &spans.Block{}
	Append(b, list, id)
	return b
}

// Append adds spans to a block, as one trace with the given id.
func Append(b *spans.Block, list []Span, id spans.TraceID) {
	if b.Scopes.Names.Len() == 0 {
		b.Scopes.Names.Append("tracescript")
		b.Scopes.Versions.Append("")
		b.Scopes.Attrs.EndRow()
		b.Scopes.SchemaURLs.Append("")
		b.Scopes.DroppedAttrs = append(b.Scopes.DroppedAttrs, 0)
	}
	for i := range list {
		if !list[i].Lost {
			list[i].appendTo(b, id)
		}
	}
}

func (s *Span) appendTo(b *spans.Block, id spans.TraceID) {
	b.Resources.Services.Append(s.Service)
	b.Resources.Attrs.Pair("service.name", s.Service)
	for _, a := range s.Resource {
		b.Resources.Attrs.Pair(a[0], a[1])
	}
	b.Resources.Attrs.EndRow()
	b.Resources.SchemaURLs.Append("")
	b.Resources.DroppedAttrs = append(b.Resources.DroppedAttrs, 0)
	b.ResourceOf = append(b.ResourceOf, uint32(b.Resources.Services.Len()-1))
	b.ScopeOf = append(b.ScopeOf, 0)
	b.TraceIDs = append(b.TraceIDs, id)
	b.SpanIDs = append(b.SpanIDs, s.ID)
	b.ParentIDs = append(b.ParentIDs, s.Parent)
	b.StartNs, b.EndNs = append(b.StartNs, s.StartNs), append(b.EndNs, s.EndNs)
	b.Kinds, b.Statuses, b.Flags = append(b.Kinds, s.Kind), append(b.Statuses, s.Status), append(b.Flags, 0)
	b.Names.Append(s.Name)
	b.TraceStates.Append("")
	b.StatusMessages.Append(s.StatusMessage)
	for _, a := range s.Attrs {
		b.Attrs.Pair(a[0], a[1])
	}
	b.Attrs.EndRow()
	b.DroppedAttrs = append(b.DroppedAttrs, 0)
	b.DroppedEvents = append(b.DroppedEvents, 0)
	b.DroppedLinks = append(b.DroppedLinks, 0)
	if s.ExceptionType != "" {
		b.Events.TimeNs = append(b.Events.TimeNs, cmp.Or(s.ExceptionNs, s.EndNs))
		b.Events.Names.Append("exception")
		b.Events.Attrs.Pair("exception.type", s.ExceptionType)
		b.Events.Attrs.Pair("exception.message", s.ExceptionText)
		b.Events.Attrs.EndRow()
		b.Events.DroppedAttrs = append(b.Events.DroppedAttrs, 0)
	}
	b.EventEnds = append(b.EventEnds, uint32(len(b.Events.TimeNs)))
	if s.Link != (spans.SpanID{}) {
		b.Links.TraceIDs = append(b.Links.TraceIDs, id)
		b.Links.SpanIDs = append(b.Links.SpanIDs, s.Link)
		b.Links.TraceStates.Append("")
		b.Links.Attrs.EndRow()
		b.Links.DroppedAttrs = append(b.Links.DroppedAttrs, 0)
		b.Links.Flags = append(b.Links.Flags, 0)
	}
	b.LinkEnds = append(b.LinkEnds, uint32(len(b.Links.TraceIDs)))
}
