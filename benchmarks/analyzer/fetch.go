package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/whosehop/whosehop/benchmarks/store"
)

// span is a row of the exporter's table, whole.
type span struct {
	timestamp                                  time.Time
	traceID, spanID, parentSpanID, traceState  string
	name, kind, service                        string
	resource                                   map[string]string
	scopeName, scopeVersion                    string
	attributes                                 map[string]string
	duration                                   uint64
	statusCode, statusMessage                  string
	eventTimes                                 []time.Time
	eventNames                                 []string
	eventAttributes                            []map[string]string
	linkTraceIDs, linkSpanIDs, linkTraceStates []string
	linkAttributes                             []map[string]string
}

// fetched is what was read by the store's API, the searches included.
type fetched struct {
	traces, spans int64
	wall          time.Duration
}

const (
	// A search's answer is limited, as those of trace stores are: a full one is asked again for less time.
	pageTraces   = 1000
	searchFailed = "SELECT DISTINCT TraceId FROM peer.otel_traces WHERE StatusCode = 'Error' AND Timestamp >= fromUnixTimestamp64Nano(?) AND Timestamp < fromUnixTimestamp64Nano(?) LIMIT ?"
	// Grafana's way: the helper says when the trace was.
	traceByID = `WITH ? AS trace_id,
		(SELECT min(Start) FROM peer.otel_traces_trace_id_ts WHERE TraceId = trace_id) AS trace_start,
		(SELECT max(End) + 1 FROM peer.otel_traces_trace_id_ts WHERE TraceId = trace_id) AS trace_end
		SELECT Timestamp, TraceId, SpanId, ParentSpanId, TraceState, SpanName, SpanKind, ServiceName, ResourceAttributes, ScopeName, ScopeVersion, SpanAttributes,
			Duration, StatusCode, StatusMessage, Events.Timestamp, Events.Name, Events.Attributes, Links.TraceId, Links.SpanId, Links.TraceState, Links.Attributes
		FROM peer.otel_traces WHERE TraceId = trace_id AND Timestamp >= trace_start AND Timestamp <= trace_end`
)

// fetch searches failing traces from the begin of the history on and fetches each, for as long as the sample lasts
// or until there are no more.
func fetch(ctx context.Context, s *store.Store, h *history, sample time.Duration) (f fetched, err error) {
	began := time.Now()
	until := began.Add(sample)
	seen := make(map[string]bool) // a trace may go on into the next page
	step := time.Second
	for at := h.from; at.Before(h.to) && time.Now().Before(until); {
		found, err := s.Strings(ctx, searchFailed, at.UnixNano(), at.Add(step).UnixNano(), pageTraces)
		if err != nil {
			return f, err
		}
		if len(found) == pageTraces && step > time.Microsecond {
			step /= 2
			continue
		}
		at = at.Add(step)
		if len(found) < pageTraces/4 {
			step *= 2
		}
		var page []string
		for _, id := range found {
			if !seen[id] {
				seen[id] = true
				page = append(page, id)
			}
		}
		if err := f.fetchPage(ctx, s, page, until); err != nil {
			return f, err
		}
	}
	f.wall = time.Since(began)
	if f.traces == 0 {
		return f, fmt.Errorf("no failing trace was fetched in %s", sample)
	}
	return f, nil
}

// fetchPage fetches as many traces at once as there are processors.
func (f *fetched) fetchPage(ctx context.Context, s *store.Store, ids []string, until time.Time) error {
	var next, traces, spans atomic.Int64
	workers := runtime.GOMAXPROCS(0)
	errs := make([]error, workers)
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			for errs[w] == nil && time.Now().Before(until) {
				i := int(next.Add(1)) - 1
				if i >= len(ids) {
					return
				}
				var trace []span
				trace, errs[w] = fetchTrace(ctx, s, ids[i])
				traces.Add(1)
				spans.Add(int64(len(trace)))
			}
		})
	}
	group.Wait()
	f.traces += traces.Load()
	f.spans += spans.Load()
	return errors.Join(errs...)
}

func fetchTrace(ctx context.Context, s *store.Store, id string) (trace []span, err error) {
	rows, err := s.Conn.Query(ctx, traceByID, id)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		trace = append(trace, span{})
		r := &trace[len(trace)-1]
		if err := rows.Scan(&r.timestamp, &r.traceID, &r.spanID, &r.parentSpanID, &r.traceState, &r.name, &r.kind, &r.service, &r.resource, &r.scopeName, &r.scopeVersion, &r.attributes,
			&r.duration, &r.statusCode, &r.statusMessage, &r.eventTimes, &r.eventNames, &r.eventAttributes, &r.linkTraceIDs, &r.linkSpanIDs, &r.linkTraceStates, &r.linkAttributes); err != nil {
			return nil, err
		}
	}
	return trace, rows.Err()
}
