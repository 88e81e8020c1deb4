package storage

import (
	"context"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/whosehop/whosehop/storage/native"
	"github.com/whosehop/whosehop/storage/spans"
)

// Scope is which traces are worth a judgement.
type Scope uint8

// The scopes: traces with a failing span; those and the slow ones; all.
const (
	Failing Scope = iota
	Slow
	All
)

// Slice is some of Of equal parts of all traces, by the hash of their ids: part From and those up to To, which is not of
// it. No parts at all are all traces.
type Slice struct{ From, To, Of int }

// Halves are two slices that are the same traces together.
func (s Slice) Halves() (first, second Slice) {
	if s.Of == 0 {
		s = Slice{To: 1, Of: 1}
	}
	middle := s.From + s.To
	return Slice{2 * s.From, middle, 2 * s.Of}, Slice{middle, 2 * s.To, 2 * s.Of}
}

// TouchQuery asks which traces got spans, and what is known of them without reading them.
type TouchQuery struct {
	// From and To bound the time in which a trace must have got a span: when it was stored, or with ByStart when it
	// began.
	From, To time.Time
	ByStart  bool
	// Around is how much time before and behind is looked at as well, for spans of the same traces.
	Around time.Duration
	Scope  Scope
	// Slow are the operations of which it is known what is too slow: an entry or a consumer that takes longer is
	// suspect as well, unless the scope is Failing.
	Slow []SlowOperation
	// Entry keeps the traces with a root span of that operation, given as its name or as service and name.
	Entry string
	Slice Slice
	// Gentle leaves ClickHouse to others who ask at the same time.
	Gentle bool
}

// SlowOperation is an operation, and what it hardly ever takes longer than. Without a service it is an SLO: Name is that
// of an operation or, which comes first, of a service and an operation, and OverNs what that may take.
type SlowOperation struct {
	Service, Name string
	OverNs        int64
}

// TouchedTrace is what was found of a trace in the time that was looked at. First and Last are when spans
// were stored.
type TouchedTrace struct {
	ID              spans.TraceID
	Rows            int64
	FirstMs, LastMs int64
	StartNs         int64 // of the earliest span
	Suspect         bool
}

// gentle lets statements that others wait for go first, and takes a bounded part of ClickHouse.
func gentle(threads int) []native.Setting {
	const grouped, sorted = "1073741824", "268435456" // bytes; what is more is grouped and sorted on disk
	return []native.Setting{
		{Key: "max_threads", Value: strconv.Itoa(threads)},
		{Key: "priority", Value: "5"},
		{Key: "max_bytes_before_external_group_by", Value: grouped},
		{Key: "max_bytes_before_external_sort", Value: sorted},
	}
}

// Touched calls add for every trace. What add is given is used again.
func (db *DB) Touched(ctx context.Context, q TouchQuery, add func(*TouchedTrace)) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	column := db.timeColumn(q.ByStart)
	var where strings.Builder
	fmt.Fprintf(&where, "%s >= '%s' AND TraceId != ''", column, stamp(q.From.Add(-q.Around)))
	if !q.To.IsZero() {
		fmt.Fprintf(&where, " AND %s < '%s'", column, stamp(q.To.Add(q.Around)))
	}
	if q.Slice.Of > 1 {
		// By the high bits of the hash: the remainder tells shards apart.
		fmt.Fprintf(&where, " AND bitShiftRight(bitShiftRight(cityHash64(TraceId), 32) * %d, 32) BETWEEN %d AND %d", q.Slice.Of, q.Slice.From, q.Slice.To-1)
	}
	having := " HAVING 1"
	if q.Around > 0 {
		having += fmt.Sprintf(" AND countIf(%s >= '%s' AND %s < '%s') > 0", column, stamp(q.From), column, stamp(q.To))
	}
	if q.Entry != "" {
		name := quoteText(q.Entry)
		having += fmt.Sprintf(" AND countIf(ParentSpanId = '' AND (SpanName = %s OR concat(ServiceName, ' ', SpanName) = %s)) > 0", name, name)
	}
	var ids []spans.TraceID
	var rows, first, last, start []int64
	var suspect []bool
	columns := []native.Column{
		native.TraceIDColumn("id", &ids), native.Int64Column("rows", &rows), native.Int64Column("first", &first),
		native.Int64Column("last", &last), native.Int64Column("start", &start), native.BoolColumn("suspect", &suspect),
	}
	body := "SELECT TraceId AS id, toInt64(count()) AS rows, toUnixTimestamp64Milli(min(IngestTime)) AS first, toUnixTimestamp64Milli(max(IngestTime)) AS last, " +
		"toUnixTimestamp64Nano(min(Timestamp)) AS start, toUInt8(max(" + suspectSQL(&q) + ")) AS suspect FROM " + db.spans + " WHERE " + where.String() +
		" GROUP BY TraceId" + having
	var settings []native.Setting
	if q.Gentle {
		settings = gentle(2) // there is one at a time
	}
	var t TouchedTrace
	err := db.with(ctx, func(c *native.Conn) error {
		return c.Select(ctx, body, nil, columns, func(n int) error {
			for i := range n {
				if ids[i] == (spans.TraceID{}) {
					continue // written by somebody else, and not a trace id
				}
				t = TouchedTrace{ID: ids[i], Rows: rows[i], FirstMs: first[i], LastMs: last[i], StartNs: start[i], Suspect: suspect[i]}
				add(&t)
			}
			return nil
		}, settings...)
	})
	return wrap("look for traces", err)
}

// suspectSQL is the condition on a span that makes its trace worth a judgement.
func suspectSQL(q *TouchQuery) string {
	if q.Scope == All {
		return "1"
	}
	if q.Scope == Failing || len(q.Slow) == 0 {
		return "Suspect"
	}
	least := q.Slow[0].OverNs
	var known, slos limits
	for _, s := range q.Slow {
		if s.Service == "" {
			slos.add(s.Name, s.OverNs)
		} else {
			known.add(s.Service+"\x00"+s.Name, s.OverNs)
		}
		least = min(least, s.OverNs)
	}
	limit := known.of("concat(ServiceName, '\\0', SpanName)", "toUInt64(18446744073709551615)")
	if slos.names != nil {
		slo := slos.of("concat(ServiceName, ' ', SpanName)", slos.of("SpanName", "toUInt64(18446744073709551615)"))
		limit = "least(" + limit + ", " + slo + ")"
	}
	// The cheap conditions first: hardly any span gets to the last.
	return fmt.Sprintf("Suspect OR (Duration > %d AND (ParentSpanId = '' OR SpanKind IN ('Consumer', 'SPAN_KIND_CONSUMER')) AND Duration > %s)",
		max(0, least), limit)
}

// limits are what operations take at most, by name.
type limits struct{ names, ns []string }

func (l *limits) add(name string, ns int64) {
	l.names, l.ns = append(l.names, quoteText(name)), append(l.ns, strconv.FormatInt(max(0, ns), 10))
}

// of looks a name up, and is otherwise what another expression says.
func (l *limits) of(name, otherwise string) string {
	if l.names == nil {
		return otherwise
	}
	return "transform(" + name + ", [" + strings.Join(l.names, ",") + "], [" + strings.Join(l.ns, ",") + "], " + otherwise + ")"
}

// JudgedState is what the newest verdict of a trace was judged on.
type JudgedState struct {
	ID              spans.TraceID
	Version, Rows   int64
	FirstMs, LastMs int64
	JudgedMs        int64
}

// Judged calls add for each of the traces that have a verdict.
func (db *DB) Judged(ctx context.Context, ids []spans.TraceID, add func(*JudgedState)) error {
	if len(ids) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	var found []spans.TraceID
	var version, rows, first, last, at []int64
	columns := []native.Column{
		native.TraceIDColumn("trace", &found), native.Int64Column("version", &version), native.Int64Column("rows", &rows),
		native.Int64Column("first", &first), native.Int64Column("last", &last), native.Int64Column("at", &at),
	}
	body := `SELECT TraceId AS trace, toInt64(max(Version)) AS version, toInt64(argMax(SpanRows, (Version, JudgedAt))) AS rows,
		toUnixTimestamp64Milli(argMax(FirstIngest, (Version, JudgedAt))) AS first, toUnixTimestamp64Milli(argMax(LastIngest, (Version, JudgedAt))) AS last,
		toUnixTimestamp64Milli(max(JudgedAt)) AS at FROM ` + db.table("verdicts") + ` WHERE TraceId IN ids GROUP BY TraceId`
	var s JudgedState
	err := db.with(ctx, func(c *native.Conn) error {
		return c.Select(ctx, body, idsOf(ids), columns, func(n int) error {
			for i := range n {
				s = JudgedState{ID: found[i], Version: version[i], Rows: rows[i], FirstMs: first[i], LastMs: last[i], JudgedMs: at[i]}
				add(&s)
			}
			return nil
		})
	})
	return wrap("look for verdicts", err)
}

// idsOf makes the table of trace ids that comes with a question.
func idsOf(ids []spans.TraceID) *native.IDs {
	table := &native.IDs{Column: "id", Rows: len(ids)}
	for i := range ids {
		table.Values = hex.AppendEncode(append(table.Values, 2*uint8(len(ids[i]))), ids[i][:])
	}
	return table
}

func quoteText(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`, "\x00", `\0`).Replace(s) + "'"
}

// progressName is the name of the record of how far one of so many parts of all traces was judged.
const progressName = "judged %d/%d"

// ScannedTo is the ingest time before which all of a slice has been judged: by who judged the same slice before,
// or by others among whom all traces were divided. Without any record it is the earliest ingest time there is.
func (db *DB) ScannedTo(ctx context.Context, slice Slice) (at time.Time, err error) {
	rows, err := db.conn.Query(ctx, "SELECT Name, max(ScannedTo) FROM "+db.table("analyzer_progress")+" WHERE startsWith(Name, 'judged ') GROUP BY Name")
	if err != nil {
		return at, wrap("read how far the analyzer has come", err)
	}
	defer func() { _ = rows.Close() }()
	all := make(map[int]map[int]time.Time) // by parts, and part
	for rows.Next() {
		var name string
		var to time.Time
		if err := rows.Scan(&name, &to); err != nil {
			return at, wrap("read how far the analyzer has come", err)
		}
		var part, of int
		if _, err := fmt.Sscanf(name, progressName, &part, &of); err != nil {
			continue
		}
		if all[of] == nil {
			all[of] = make(map[int]time.Time)
		}
		all[of][part] = to
	}
	if err := rows.Err(); err != nil {
		return at, wrap("read how far the analyzer has come", err)
	}
	at = leastOf(all[slice.Of], slice.From, slice.To)
	for of, parts := range all {
		if least := leastOf(parts, 0, of); least.After(at) {
			at = least
		}
	}
	if at.IsZero() {
		err = db.conn.QueryRow(ctx, "SELECT if(count() = 0, now64(3), min(IngestTime)) FROM "+db.spans).Scan(&at)
	}
	return at, wrap("read how far the analyzer has come", err)
}

// leastOf is how far all of some parts have been judged, zero where that is not known of one.
func leastOf(parts map[int]time.Time, from, to int) (least time.Time) {
	for part := from; part < to; part++ {
		at, ok := parts[part]
		if !ok {
			return time.Time{}
		}
		if part == from || at.Before(least) {
			least = at
		}
	}
	return least
}

// SetScannedTo records how far a slice has been judged.
func (db *DB) SetScannedTo(ctx context.Context, slice Slice, at time.Time) error {
	var rows []string
	for part := slice.From; part < slice.To; part++ {
		rows = append(rows, fmt.Sprintf("('"+progressName+"', '%s')", part, slice.Of, stamp(at)))
	}
	return wrap("record how far the analyzer has come",
		db.conn.Exec(ctx, "INSERT INTO "+db.table("analyzer_progress")+" (Name, ScannedTo) VALUES "+strings.Join(rows, ", ")))
}

// MinuteCount is how many spans began in a minute.
type MinuteCount struct {
	At    time.Time
	Spans int64
}

// SpansPerMinute counts the spans that began in [from, to), for the minutes in which any did.
func (db *DB) SpansPerMinute(ctx context.Context, from, to time.Time) (list []MinuteCount, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	rows, err := db.conn.Query(ctx, "SELECT toDateTime(toStartOfMinute(Timestamp), 'UTC') AS At, toInt64(count()) FROM "+db.spans+" WHERE Timestamp >= ? AND Timestamp < ? GROUP BY At ORDER BY At", nanos(from), nanos(to))
	if err != nil {
		return nil, wrap("count spans", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var m MinuteCount
		if err := rows.Scan(&m.At, &m.Spans); err != nil {
			return nil, wrap("count spans", err)
		}
		list = append(list, m)
	}
	return list, wrap("count spans", rows.Err())
}

// HistoryTo is how far a history came when it was last broken off; zero for one that is not known.
func (db *DB) HistoryTo(ctx context.Context, job string) (at time.Time, err error) {
	var known uint64
	err = db.conn.QueryRow(ctx, "SELECT count(), argMax(ScannedTo, UpdatedAt) FROM "+db.table("analyzer_progress")+" WHERE Name = ?", job).Scan(&known, &at)
	if known == 0 {
		at = time.Time{}
	}
	return at, wrap("read how far the history has come", err)
}

// SetHistoryTo records how far a history has come.
func (db *DB) SetHistoryTo(ctx context.Context, job string, at time.Time) error {
	return wrap("record how far the history has come",
		db.conn.Exec(ctx, "INSERT INTO "+db.table("analyzer_progress")+" (Name, ScannedTo) VALUES (?, ?)", job, stamp(at)))
}
