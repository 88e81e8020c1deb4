package storage

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/whosehop/whosehop/storage/native"
	"github.com/whosehop/whosehop/storage/spans"
	"github.com/whosehop/whosehop/verdict"
)

// SettledTrace is a trace that is due, and what is stored of it.
type SettledTrace struct {
	TraceID                 spans.TraceID
	Rows                    uint64
	FirstIngest, LastIngest time.Time
	// Version is the newest version of its verdict, 0 for none.
	Version uint32
}

// timeColumn is the column of the time at which a span was stored, or began.
func timeColumn(byStart bool) string {
	if byStart {
		return "Timestamp"
	}
	return "IngestTime"
}

// stamp is a time as the comparison with a DateTime64(3) column takes it.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000") }

// StoredTrace says what is stored of one trace; Rows is 0 where nothing is.
func (db *DB) StoredTrace(ctx context.Context, id spans.TraceID) (SettledTrace, error) {
	t := SettledTrace{TraceID: id}
	err := db.conn.QueryRow(ctx, `SELECT count(), min(IngestTime), max(IngestTime) FROM otel_traces WHERE TraceId = ?`,
		hex.EncodeToString(id[:])).Scan(&t.Rows, &t.FirstIngest, &t.LastIngest)
	return t, wrap("look a trace up", err)
}

// ServerTime is ClickHouse's clock.
func (db *DB) ServerTime(ctx context.Context) (now time.Time, err error) {
	return now, wrap("ask for the time", db.conn.QueryRow(ctx, "SELECT now64(3)").Scan(&now))
}

// LearntTo is the ingest time before which everything has been learnt from, zero where that is not known.
func (db *DB) LearntTo(ctx context.Context) (at time.Time, err error) {
	var recorded uint64
	err = db.conn.QueryRow(ctx, "SELECT count(), max(ScannedTo) FROM analyzer_progress WHERE Name = 'baseline'").Scan(&recorded, &at)
	if recorded == 0 {
		at = time.Time{}
	}
	return at, wrap("read how far the baseline has come", err)
}

// SetLearntTo records how far the baseline has come.
func (db *DB) SetLearntTo(ctx context.Context, at time.Time) error {
	return wrap("record how far the baseline has come",
		db.conn.Exec(ctx, "INSERT INTO analyzer_progress (Name, ScannedTo) VALUES ('baseline', ?)", stamp(at)))
}

// TraceQuery asks for spans of traces.
type TraceQuery struct {
	IDs []spans.TraceID
	// From and To bound when what is looked at was stored, or with ByStart when it began; zero bounds nothing.
	From, To time.Time
	ByStart  bool
	// SpansMax is how many spans of a trace are read at most: its earliest. 0 reads all, in no order.
	SpansMax int
	// BytesMax is what the block may hold before reading ends with ErrTooLarge; 0 bounds nothing.
	BytesMax int64
	// Keep says which span attributes are read; nil reads all.
	Keep func(key string) bool
	// Gentle leaves ClickHouse to others who ask at the same time.
	Gentle bool
	// Whole reads all that the spans came with, and not only what their judgement needs.
	Whole bool
}

// ErrTooLarge says that spans were not read because they would take more memory than they may.
var ErrTooLarge = errors.New("the spans take more memory than they may")

// ReadTraces appends spans to b. Whoever wrote the rows, old spellings of kinds and statuses are understood.
func (db *DB) ReadTraces(ctx context.Context, q TraceQuery, b *spans.Block) error {
	if len(q.IDs) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	d := native.NewDecoder(q.Whole)
	d.Keep = q.Keep
	var body strings.Builder
	for i, c := range d.Columns() {
		if i > 0 {
			body.WriteString(", ")
		}
		body.WriteString("`" + c.Name + "`")
	}
	text := "SELECT " + body.String() + " FROM otel_traces WHERE TraceId IN ids"
	column := timeColumn(q.ByStart)
	if !q.From.IsZero() {
		text += " AND " + column + " >= '" + stamp(q.From) + "'"
	}
	if !q.To.IsZero() {
		text += " AND " + column + " < '" + stamp(q.To) + "'"
	}
	if q.SpansMax > 0 {
		text += " ORDER BY TraceId, Timestamp, SpanId, SpanKind LIMIT " + strconv.Itoa(q.SpansMax) + " BY TraceId"
	}
	var settings []native.Setting
	if q.Gentle {
		settings = gentle
	}
	before := b.Len()
	d.Into(b)
	done := func(rows int) error {
		if err := d.Done(rows); err != nil {
			return err
		}
		if q.BytesMax > 0 && b.Bytes() > q.BytesMax {
			return ErrTooLarge
		}
		return nil
	}
	err := db.with(ctx, func(c *native.Conn) error { return c.Select(ctx, text, idsOf(q.IDs), d.Columns(), done, settings...) })
	if err != nil {
		b.TruncateSpans(before)
	}
	return wrap("read traces", err)
}

// JudgedTrace is the outcome of judging a trace, and what it was judged on.
type JudgedTrace struct {
	SettledTrace
	Verdicts []verdict.Verdict
}

// WriteJudged stores verdicts; a later version of a trace replaces an earlier one. A trace without a
// symptom gets a row all the same: that is how it is known to be done.
func (db *DB) WriteJudged(ctx context.Context, judged []JudgedTrace) error {
	if len(judged) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	batch, err := db.conn.PrepareBatch(ctx, `INSERT INTO verdicts (TraceId, Version, FirstIngest, SpanRows, LastIngest, Rules,
		Entries.Service, Entries.Operation, Entries.SpanId, Entries.Start, Entries.DurationNs, Entries.Symptom, Entries.Summary, Entries.Body,
		Shares.Entry, Shares.Kind, Shares.Service, Shares.Operation, Shares.Caller, Shares.Callee, Shares.Phase, Shares.Peer,
		Shares.Accountable, Shares.Owner, Shares.Rule, Shares.Class, Shares.ErrorType, Shares.Weight, Shares.ExcessNs, Shares.Confidence,
		Hops.Entry, Hops.Service, Hops.Owner, Hops.Role)`)
	if err != nil {
		return wrap("write verdicts", err)
	}
	defer func() { _ = batch.Abort() }() // nothing once it is sent
	for i := range judged {
		row, err := newVerdictRow(&judged[i])
		if err != nil {
			return err
		}
		if err := batch.Append(row.values(&judged[i])...); err != nil {
			return wrap("write verdicts", err)
		}
	}
	return wrap("write verdicts", batch.Send())
}

// verdictRow is the nested columns of one row of verdicts.
type verdictRow struct {
	entry                                                 struct{ service, operation, span, symptom, summary, body []string }
	starts                                                []time.Time
	durations                                             []int64
	shareEntry, hopEntry                                  []uint32
	kind, service, operation, caller, callee, phase, peer []string
	accountable, owner, rule, class, errorType            []string
	weight, confidence                                    []float64
	excess                                                []int64
	hopService, hopOwner, hopRole                         []string
}

func newVerdictRow(j *JudgedTrace) (*verdictRow, error) {
	r := &verdictRow{}
	for i := range j.Verdicts {
		v := &j.Verdicts[i]
		if v.Symptom == verdict.SymptomNone {
			continue
		}
		body, err := json.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("encode the verdict of %s: %w", v.TraceID, err)
		}
		r.entry.service = append(r.entry.service, v.Entry.Service)
		r.entry.operation = append(r.entry.operation, v.Entry.Operation)
		r.entry.span = append(r.entry.span, v.Entry.SpanID)
		r.entry.symptom = append(r.entry.symptom, string(v.Symptom))
		r.entry.summary = append(r.entry.summary, v.Summary)
		r.entry.body = append(r.entry.body, string(body))
		r.starts = append(r.starts, time.Unix(0, v.Entry.Start.UnixNs).UTC())
		r.durations = append(r.durations, v.Entry.DurationNs)
		number := uint32(len(r.starts))
		for k := range v.Shares {
			r.addShare(number, &v.Shares[k])
		}
		for _, h := range v.Hops {
			r.hopEntry = append(r.hopEntry, number)
			r.hopService = append(r.hopService, h.Service)
			r.hopOwner = append(r.hopOwner, h.Owner)
			r.hopRole = append(r.hopRole, string(h.Role))
		}
	}
	return r, nil
}

func (r *verdictRow) addShare(entry uint32, s *verdict.Share) {
	r.shareEntry = append(r.shareEntry, entry)
	r.kind = append(r.kind, string(s.Site.Kind))
	r.service = append(r.service, s.Site.Service)
	r.operation = append(r.operation, s.Site.Operation)
	r.caller = append(r.caller, s.Site.Caller)
	r.callee = append(r.callee, s.Site.Callee)
	r.phase = append(r.phase, string(s.Site.Phase))
	r.peer = append(r.peer, s.Site.Peer)
	r.accountable = append(r.accountable, s.Accountable)
	r.owner = append(r.owner, s.Owner)
	r.rule = append(r.rule, s.Rule)
	r.class = append(r.class, string(s.Class))
	r.errorType = append(r.errorType, s.ErrorType)
	r.weight = append(r.weight, s.Weight)
	r.excess = append(r.excess, s.ExcessNs)
	r.confidence = append(r.confidence, s.Confidence)
}

func (r *verdictRow) values(j *JudgedTrace) []any {
	return []any{
		hex.EncodeToString(j.TraceID[:]), j.Version, j.FirstIngest, j.Rows, j.LastIngest, verdict.Rules,
		r.entry.service, r.entry.operation, r.entry.span, r.starts, r.durations, r.entry.symptom, r.entry.summary, r.entry.body,
		r.shareEntry, r.kind, r.service, r.operation, r.caller, r.callee, r.phase, r.peer,
		r.accountable, r.owner, r.rule, r.class, r.errorType, r.weight, r.excess, r.confidence,
		r.hopEntry, r.hopService, r.hopOwner, r.hopRole,
	}
}
