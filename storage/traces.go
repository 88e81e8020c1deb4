package storage

import (
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/whosehop/whosehop/storage/native"
	"github.com/whosehop/whosehop/storage/spans"
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
func (db *DB) timeColumn(byStart bool) string {
	if byStart {
		return "Timestamp"
	}
	return db.stored
}

// storedFrom leaves days out of what is looked at, in our own table, that are over when something begins or is stored: spans that are
// dated more than a day ahead are not looked for.
func (db *DB) storedFrom(from time.Time) string {
	if db.spans != db.table("otel_traces") {
		return ""
	}
	return " AND IngestDate >= '" + from.UTC().Add(-24*time.Hour).Format(time.DateOnly) + "'"
}

// judgedWithin is how long ago a span may have been stored and not be judged: what came before that has been.
const judgedWithin = 6 * time.Hour

// NewestSpan is when the last span of a trace was stored, zero if that is not within the last hours.
func (db *DB) NewestSpan(ctx context.Context, id spans.TraceID) (at time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	since := time.Now().Add(-judgedWithin)
	days := ""
	if db.spans == db.table("otel_traces") {
		// A block is filed under the day of its packing, and may be stored a while after that.
		days = " AND IngestDate >= '" + since.UTC().Add(-time.Hour).Format(time.DateOnly) + "'"
	}
	var n uint64
	err = db.conn.QueryRow(ctx, "SELECT count(), max(IngestTime) FROM "+db.spans+" WHERE TraceId = ? AND "+db.stored+" > '"+stamp(since)+"'"+days+lookUpSettings,
		hex.EncodeToString(id[:])).Scan(&n, &at)
	if n == 0 {
		at = time.Time{}
	}
	return at, wrap("look for the newest span of a trace", err)
}

// stamp is a time as the comparison with a DateTime64(3) column takes it.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000") }

// StoredTrace says what is stored of one trace; Rows is 0 where nothing is.
func (db *DB) StoredTrace(ctx context.Context, id spans.TraceID) (SettledTrace, error) {
	t := SettledTrace{TraceID: id}
	err := db.conn.QueryRow(ctx, `SELECT count(), min(IngestTime), max(IngestTime) FROM `+db.spans+` WHERE TraceId = ?`+lookUpSettings,
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
	err = db.conn.QueryRow(ctx, "SELECT count(), max(ScannedTo) FROM "+db.table("analyzer_progress")+" WHERE Name = 'baseline'").Scan(&recorded, &at)
	if recorded == 0 {
		at = time.Time{}
	}
	return at, wrap("read how far the baseline has come", err)
}

// SetLearntTo records how far the baseline has come.
func (db *DB) SetLearntTo(ctx context.Context, at time.Time) error {
	return wrap("record how far the baseline has come",
		db.conn.Exec(ctx, "INSERT INTO "+db.table("analyzer_progress")+" (Name, ScannedTo) VALUES ('baseline', ?)", stamp(at)))
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
	text := "SELECT " + body.String() + " FROM " + db.spans + " WHERE TraceId IN ids"
	column := db.timeColumn(q.ByStart)
	if !q.From.IsZero() {
		text += db.storedFrom(q.From)
		text += " AND " + column + " >= '" + stamp(q.From) + "'"
	}
	if !q.To.IsZero() {
		text += " AND " + column + " < '" + stamp(q.To) + "'"
	}
	if q.SpansMax > 0 {
		text += " ORDER BY TraceId, Timestamp, SpanId, SpanKind LIMIT " + strconv.Itoa(q.SpansMax) + " BY TraceId"
	}
	settings := slices.Clip(byTrace)
	if q.Gentle {
		settings = append(settings, gentle(1)...)
	}
	if db.cluster != nil {
		settings = append(slices.Clip(settings), clusterSettings...)
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
