package storage

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/whosehop/whosehop/storage/native"
	"github.com/whosehop/whosehop/storage/spans"
)

// TraceSearch asks for traces with a span that began in [From, To) and that a condition holds for.
type TraceSearch struct {
	Match    Match
	From, To time.Time
	Limit    int
}

// TraceSummary is what a list says of a trace. Without a root span, the earliest span stands for it.
type TraceSummary struct {
	TraceID        spans.TraceID
	RootService    string
	RootName       string
	StartNs, EndNs int64
	Spans, Errors  uint64
	Services       []ServiceSummary // those with the most spans first
	rooted         bool
	rootNs         int64
}

// ServiceSummary is a service's part in a trace.
type ServiceSummary struct {
	Name          string
	Spans, Errors uint64
}

// searchSettings are of questions with a condition on the trace. Of a cluster, each shard looks for that among its own spans, for a trace lies
// on one. The traces that it holds for are many, and not looked for one by one.
const searchSettings = readSettings + ", distributed_product_mode = 'local', use_index_for_in_with_subqueries = 0"

// The newest part of the time is looked through first, and then so many times as much: what is asked for is mostly found in that, and what is
// not costs little more for it.
const (
	searchFirst = 64
	searchStep  = 8
)

// FindTraces finds traces, newest first.
func (db *DB) FindTraces(ctx context.Context, q TraceSearch) ([]spans.TraceID, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	var ids []spans.TraceID
	found := make(map[spans.TraceID]bool)
	for part, to := q.To.Sub(q.From)/searchFirst, q.To; to.After(q.From) && len(ids) < q.Limit; part *= searchStep {
		from := to.Add(-part)
		if part <= 0 || from.Before(q.From) {
			from = q.From
		}
		// A trace that was found already may have earlier spans as well.
		newest, err := db.newestTraces(ctx, &q.Match, from, to, q.Limit+len(ids))
		if err != nil {
			return nil, wrap("search traces", err)
		}
		for _, id := range newest {
			if !found[id] && len(ids) < q.Limit {
				found[id] = true
				ids = append(ids, id)
			}
		}
		to = from
	}
	return ids, nil
}

func during(from, to time.Time) string {
	return "Timestamp >= '" + nanos(from) + "' AND Timestamp < '" + nanos(to) + "'"
}

func (db *DB) newestTraces(ctx context.Context, m *Match, from, to time.Time, limit int) ([]spans.TraceID, error) {
	when := during(from, to)
	var parts []string
	for _, part := range m.split() {
		parts = append(parts, fmt.Sprintf("SELECT TraceId, Timestamp FROM %s WHERE %s AND TraceId != '' AND %s", db.spans, when, db.where(&part, when)))
	}
	return db.traceIDs(ctx, fmt.Sprintf("SELECT TraceId FROM (%s) GROUP BY TraceId ORDER BY max(Timestamp) DESC, TraceId LIMIT %d", strings.Join(parts, " UNION ALL "), limit)+searchSettings)
}

// SummarizeTraces sums up traces, in the order of their ids. Those of which nothing is stored are left out.
func (db *DB) SummarizeTraces(ctx context.Context, ids []spans.TraceID) ([]TraceSummary, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	rows, err := db.conn.Query(ctx, `SELECT TraceId, ServiceName, count(), countIf(StatusCode IN ('Error', 'STATUS_CODE_ERROR')),
			toUnixTimestamp64Nano(toDateTime64(min(Timestamp), 9)), max(toUnixTimestamp64Nano(toDateTime64(Timestamp, 9)) + toInt64(Duration)),
			argMin(SpanName, (Timestamp, SpanId)), countIf(ParentSpanId = '') > 0,
			toUnixTimestamp64Nano(toDateTime64(minIf(Timestamp, ParentSpanId = ''), 9)), argMinIf(SpanName, (Timestamp, SpanId), ParentSpanId = '')
		FROM `+db.spans+` WHERE TraceId IN (`+quoteIDs(ids)+`) GROUP BY TraceId, ServiceName ORDER BY TraceId, count() DESC, ServiceName`+readSettings)
	if err != nil {
		return nil, wrap("sum up traces", err)
	}
	defer func() { _ = rows.Close() }()
	byID := make(map[spans.TraceID]*TraceSummary, len(ids))
	for _, id := range ids {
		byID[id] = &TraceSummary{TraceID: id}
	}
	for rows.Next() {
		var id, name, rootName string
		var service ServiceSummary
		var startNs, endNs, rootNs int64
		var rooted bool
		if err := rows.Scan(&id, &service.Name, &service.Spans, &service.Errors, &startNs, &endNs, &name, &rooted, &rootNs, &rootName); err != nil {
			return nil, wrap("sum up traces", err)
		}
		key := native.ReadTraceID([]byte(id))
		if !rooted {
			rootNs, rootName = startNs, name
		}
		if t := byID[key]; t != nil {
			t.add(&service, startNs, endNs, rooted, rootNs, rootName)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, wrap("sum up traces", err)
	}
	var list []TraceSummary
	for _, id := range ids {
		if t := byID[id]; t.Spans > 0 {
			list = append(list, *t)
		}
	}
	return list, nil
}

// add adds what one service did in the trace.
func (t *TraceSummary) add(s *ServiceSummary, startNs, endNs int64, rooted bool, rootNs int64, rootName string) {
	first := t.Spans == 0
	t.Services = append(t.Services, *s)
	t.Spans += s.Spans
	t.Errors += s.Errors
	if first || startNs < t.StartNs {
		t.StartNs = startNs
	}
	t.EndNs = max(t.EndNs, endNs)
	if first || rooted && !t.rooted || rooted == t.rooted && rootNs < t.rootNs {
		t.RootService, t.RootName, t.rooted, t.rootNs = s.Name, rootName, rooted, rootNs
	}
}

func quoteIDs(ids []spans.TraceID) string {
	quoted := make([]string, len(ids))
	for i := range ids {
		quoted[i] = "'" + hex.EncodeToString(ids[i][:]) + "'"
	}
	return strings.Join(quoted, ", ")
}

// SpanMatch is a span that a condition held for.
type SpanMatch struct {
	SpanID, Name, Service string
	StartNs               int64
	DurationNs            uint64
	Values                []string // of the fields asked for, "" for what is not there
	Matched               uint64   // how many spans of its trace the condition holds for
}

// FieldRef names a field, and the key of an attribute.
type FieldRef struct {
	Field Field
	Key   string
}

// MatchedSpans are the earliest spans of traces that a condition holds for, each with some of its fields.
func (db *DB) MatchedSpans(ctx context.Context, q TraceSearch, ids []spans.TraceID, fields []FieldRef) (map[spans.TraceID][]SpanMatch, error) {
	if len(ids) == 0 || q.Limit == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	values := make([]string, len(fields))
	for i := range fields {
		values[i] = fields[i].expression()
	}
	list := "[" + strings.Join(values, ", ") + "]"
	if len(values) == 0 {
		list = "CAST([], 'Array(String)')"
	}
	rows, err := db.conn.Query(ctx, fmt.Sprintf(`SELECT TraceId, SpanId, SpanName, ServiceName, toUnixTimestamp64Nano(toDateTime64(Timestamp, 9)), Duration, %s, count() OVER (PARTITION BY TraceId)
		FROM %s WHERE TraceId IN (%s) AND %s ORDER BY TraceId, Timestamp, SpanId LIMIT %d BY TraceId`,
		list, db.spans, quoteIDs(ids), db.where(&q.Match, during(q.From, q.To)), q.Limit)+searchSettings)
	if err != nil {
		return nil, wrap("look for the spans of a search", err)
	}
	defer func() { _ = rows.Close() }()
	matched := make(map[spans.TraceID][]SpanMatch)
	for rows.Next() {
		var id string
		var s SpanMatch
		if err := rows.Scan(&id, &s.SpanID, &s.Name, &s.Service, &s.StartNs, &s.DurationNs, &s.Values, &s.Matched); err != nil {
			return nil, wrap("look for the spans of a search", err)
		}
		key := native.ReadTraceID([]byte(id))
		matched[key] = append(matched[key], s)
	}
	return matched, wrap("look for the spans of a search", rows.Err())
}

// expression is the field as a text.
func (f *FieldRef) expression() string {
	key := quoteText(f.Key)
	switch f.Field {
	case FieldKind:
		return "lower(replaceOne(toString(SpanKind), 'SPAN_KIND_', ''))"
	case FieldStatus:
		return "lower(replaceOne(toString(StatusCode), 'STATUS_CODE_', ''))"
	case FieldDuration:
		return "toString(Duration)"
	case FieldAttribute:
		return "if(mapContains(SpanAttributes, " + key + "), SpanAttributes[" + key + "], ResourceAttributes[" + key + "])"
	case FieldSpanAttribute:
		return "SpanAttributes[" + key + "]"
	case FieldResourceAttribute:
		return "ResourceAttributes[" + key + "]"
	case FieldEventName:
		return "arrayStringConcat(Events.Name, ', ')"
	default:
		if column := columnsOf[f.Field]; column != "" {
			return "toString(" + column + ")"
		}
		return "''"
	}
}
