package compat

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/whosehop/whosehop/query"
	"github.com/whosehop/whosehop/storage/spans"
)

// A trace of ten thousand spans has a quarter of a million tags, and a page waits for it: Jaeger's JSON is written as it is read from the
// columns, and not made of objects first.

// writeJaegerTraces answers with traces as Jaeger's API gives them: times are in microseconds, and what OTLP has fields for, and Jaeger has not, are
// tags, named as Jaeger names them.
func writeJaegerTraces(w http.ResponseWriter, list []*query.Trace, errs []jaegerError) {
	out := []byte(`{"data":[`)
	for i, t := range list {
		out = appendTrace(separated(out, i), t)
	}
	said, err := json.Marshal(errs)
	if err != nil {
		panic(err) // texts and numbers
	}
	out = append(out, `],"total":0,"limit":0,"offset":0,"errors":`...)
	out = append(append(out, said...), '}', '\n')
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(out) // whoever asked may have left
}

func appendTrace(out []byte, t *query.Trace) []byte {
	noted := remarks(t)
	names := newNames(t.Spans)
	processes := make(map[string]string) // by what the resource says
	var resources []uint32               // of the processes
	out = appendID(append(out, `{"traceID":`...), t.ID[:])
	out = append(out, `,"spans":[`...)
	for n, i := range t.Rows {
		r := t.Spans.ResourceOf[i]
		key := names.resource(r)
		process := processes[key]
		if process == "" {
			resources = append(resources, r)
			process = processName(len(resources))
			processes[key] = process
		}
		out = appendSpan(separated(out, n), t.Spans, i, process, noted[t.Spans.SpanIDs[i]])
	}
	out = append(out, `],"processes":{`...)
	for n, r := range resources {
		out = appendText(separated(out, n), processName(n+1))
		out = appendProcess(append(out, ':'), t.Spans, int(r))
	}
	out = append(out, `},"warnings":`...)
	if t.Cut {
		return append(appendText(append(out, '['), cutText), ']', '}')
	}
	return append(out, `null}`...)
}

func processName(n int) string { return "p" + strconv.Itoa(n) }

// noService stands for a service without a name, which Jaeger's front end cannot do without.
const noService = "unknown_service"

func appendProcess(out []byte, b *spans.Block, r int) []byte {
	out = append(out, `{"serviceName":`...)
	if name := b.Resources.Services.At(r); len(name) > 0 {
		out = appendText(out, name)
	} else {
		out = appendText(out, noService)
	}
	out = append(out, `,"tags":[`...)
	n := 0
	from, to := b.Resources.Attrs.Range(r)
	for p := from; p < to; p++ {
		if key := b.Resources.Attrs.Keys.At(p); string(key) != serviceName {
			out = appendTag(separated(out, n), key, b.Resources.Attrs.Values.At(p))
			n++
		}
	}
	return append(out, `]}`...)
}

// w3cFlags are the flags of the trace's context, which Jaeger has: above them OTLP has some of its own.
const w3cFlags = 0xff

func appendSpan(out []byte, b *spans.Block, i int, process string, r *remark) []byte {
	out = appendID(append(out, `{"traceID":`...), b.TraceIDs[i][:])
	out = appendID(append(out, `,"spanID":`...), b.SpanIDs[i][:])
	if flags := b.Flags[i] & w3cFlags; flags != 0 {
		out = strconv.AppendUint(append(out, `,"flags":`...), uint64(flags), 10)
	}
	out = appendText(append(out, `,"operationName":`...), b.Names.At(i))
	out = appendReferences(append(out, `,"references":`...), b, i)
	out = strconv.AppendInt(append(out, `,"startTime":`...), b.StartNs[i]/1000, 10)
	out = strconv.AppendInt(append(out, `,"duration":`...), max(0, b.EndNs[i]-b.StartNs[i])/1000, 10)
	out = appendTags(append(out, `,"tags":`...), b, i, r)
	out = append(out, `,"logs":[`...)
	from, to := b.EventRange(i)
	for e := from; e < to; e++ {
		out = strconv.AppendInt(append(separated(out, e-from), `{"timestamp":`...), b.Events.TimeNs[e]/1000, 10)
		out = appendTag(append(out, `,"fields":[`...), "event", b.Events.Names.At(e))
		out = append(appendPairs(out, 1, &b.Events.Attrs, e), `]}`...)
	}
	out = appendText(append(out, `],"processID":`...), process)
	out = append(out, `,"warnings":`...)
	if r == nil || len(r.evidence) == 0 {
		return append(out, `null}`...)
	}
	for n, text := range r.evidence {
		if n == 0 {
			out = append(out, '[')
		}
		out = appendText(separated(out, n), text)
	}
	return append(out, `]}`...)
}

func appendReferences(out []byte, b *spans.Block, i int) []byte {
	n := 0
	add := func(kind string, trace, span []byte) {
		out = appendText(append(separated(out, n), `{"refType":`...), kind)
		out = appendID(append(out, `,"traceID":`...), trace)
		out = append(appendID(append(out, `,"spanID":`...), span), '}')
		n++
	}
	out = append(out, '[')
	if b.ParentIDs[i] != (spans.SpanID{}) {
		add("CHILD_OF", b.TraceIDs[i][:], b.ParentIDs[i][:])
	}
	from, to := b.LinkRange(i)
	for l := from; l < to; l++ {
		add("FOLLOWS_FROM", b.Links.TraceIDs[l][:], b.Links.SpanIDs[l][:])
	}
	return append(out, ']')
}

var jaegerKinds = [...]string{"", "internal", "server", "client", "producer", "consumer"}

// appendTags are the attributes of a span, and as tags what else it has.
func appendTags(out []byte, b *spans.Block, i int, r *remark) []byte {
	from, to := b.Attrs.Range(i)
	n := to - from
	out = appendPairs(append(out, '['), 0, &b.Attrs, i)
	add := func(key string, value []byte) {
		if len(value) > 0 {
			out = appendTag(separated(out, n), key, value)
			n++
		}
	}
	if kind := int(b.Kinds[i]); kind < len(jaegerKinds) {
		add("span.kind", []byte(jaegerKinds[kind]))
	}
	switch b.Statuses[i] {
	case spans.StatusError:
		add("otel.status_code", []byte("ERROR"))
		if _, ok := b.Attrs.Get(i, "error"); !ok {
			out = append(separated(out, n), `{"key":"error","type":"bool","value":true}`...) // by which viewers mark a span
			n++
		}
	case spans.StatusOK:
		add("otel.status_code", []byte("OK"))
	case spans.StatusUnset:
	}
	add("otel.status_description", b.StatusMessages.At(i))
	add("w3c.tracestate", b.TraceStates.At(i))
	scope := int(b.ScopeOf[i])
	add("otel.scope.name", b.Scopes.Names.At(scope))
	add("otel.scope.version", b.Scopes.Versions.At(scope))
	r.added(func(key, value string) { add(key, []byte(value)) })
	return append(out, ']')
}

// appendPairs are the attributes of a row, behind so many tags.
func appendPairs(out []byte, behind int, a *spans.Attrs, row int) []byte {
	from, to := a.Range(row)
	for p := from; p < to; p++ {
		out = appendTag(separated(out, behind+p-from), a.Keys.At(p), a.Values.At(p))
	}
	return out
}

func appendTag[K string | []byte](out []byte, key K, value []byte) []byte {
	out = appendText(append(out, `{"key":`...), key)
	out = appendText(append(out, `,"type":"string","value":`...), value)
	return append(out, '}')
}

// separated puts a comma before all elements of a list but the first.
func separated(out []byte, n int) []byte {
	if n > 0 {
		return append(out, ',')
	}
	return out
}

func appendID(out, id []byte) []byte {
	return append(hex.AppendEncode(append(out, '"'), id), '"')
}

// appendText writes a text as JSON has it. Few have a character that must be written in another way.
func appendText[T string | []byte](out []byte, text T) []byte {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			quoted, err := json.Marshal(string(text))
			if err != nil {
				panic(err) // any text can be written
			}
			return append(out, quoted...)
		}
	}
	out = append(out, '"')
	return append(append(out, text...), '"')
}

// base64Of reads base64 of either alphabet, padded or not.
func base64Of(text string) ([]byte, bool) {
	for _, e := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawStdEncoding, base64.RawURLEncoding} {
		if raw, err := e.DecodeString(text); err == nil {
			return raw, true
		}
	}
	return nil, false
}
