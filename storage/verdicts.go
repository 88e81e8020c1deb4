package storage

import (
	"context"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/whosehop/whosehop/storage/spans"
)

// VerdictFilter selects verdicts; empty fields select all.
type VerdictFilter struct {
	From, To  time.Time // of the entry's start
	Owner     string    // of a share
	Service   string    // of a hop
	Operation string    // of a share's site, or of the entry
	Entry     string    // the entry's service or operation, or both with a space between them
	Symptom   string
	Rule      string // of a share, as the next four
	Class     string
	ErrorType string
	// Fingerprint is 16 hexadecimal digits.
	Fingerprint string
	Version     string // service.version of who must act
	// Caller and Callee are of an edge that is to blame, or that a site was called over or called over itself.
	Caller, Callee string
	// MinNs and MaxNs bound the entry's duration; 0 does not.
	MinNs, MaxNs int64
	// Attributes are of a span of the trace, each of some span.
	Attributes map[string]string
	// Before continues a listing: only what comes after this one in its order.
	Before *VerdictKey
	Limit  int
}

// VerdictKey is the place of a verdict in a listing, which goes from the newest to the oldest.
type VerdictKey struct {
	StartNs int64
	TraceID string
	SpanID  string
	// Number tells entries of a trace apart that began at the same moment.
	Number uint32
}

// VerdictRow is a verdict in a listing.
type VerdictRow struct {
	Key        VerdictKey
	Service    string
	Operation  string
	DurationNs int64
	Symptom    string
	Summary    string
	Represents float64 // requests
	Owners     []string
	Rules      []string
}

// readSettings bound every question: a page that takes longer is of no use.
const readSettings = " SETTINGS max_execution_time = 20, max_threads = 2"

// lookUpSettings are of questions that read a few rows: a second thread costs more than it does.
const lookUpSettings = " SETTINGS max_execution_time = 20, max_threads = 1"

// TraceVerdicts returns the JSON of the newest verdicts of a trace, and what they were judged on;
// found is false where it was not judged. Entries without a symptom have no JSON here.
func (db *DB) TraceVerdicts(ctx context.Context, id spans.TraceID) (bodies []string, of SettledTrace, found bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	of.TraceID = id
	rows, err := db.conn.Query(ctx, "SELECT Entries.Body, Version, SpanRows, FirstIngest, LastIngest FROM "+db.table("verdicts")+" WHERE TraceId = ? ORDER BY Version DESC, JudgedAt DESC LIMIT 1"+lookUpSettings, hex.EncodeToString(id[:]))
	if err != nil {
		return nil, of, false, wrap("read the verdicts of a trace", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		found = true
		if err := rows.Scan(&bodies, &of.Version, &of.Rows, &of.FirstIngest, &of.LastIngest); err != nil {
			return nil, of, false, wrap("read the verdicts of a trace", err)
		}
	}
	return bodies, of, found, wrap("read the verdicts of a trace", rows.Err())
}

// attributeTraces bounds the traces that are looked at for an attribute: the newest that have it.
const attributeTraces = 20_000

// where are the conditions on an entry e with a Number, counted from 1.
func (f *VerdictFilter) where(db *DB) (conditions []string, args []any) {
	add := func(condition string, values ...any) {
		conditions = append(conditions, condition)
		args = append(args, values...)
	}
	from, to := nanos(f.From), nanos(f.To)
	add("LastStart >= ? AND FirstStart < ? AND e.Start >= ? AND e.Start < ?", from, to, from, to)
	// What is of no entry at all is found for much less.
	of := func(array, value string) {
		if value != "" {
			group, _, _ := strings.Cut(array, ".")
			add(fmt.Sprintf("has(%[1]s, ?) AND arrayExists((x, n) -> n = Number AND x = ?, %[1]s, %[2]s.Entry)", array, group), value, value)
		}
	}
	share := func(column, value string) { of("Shares."+column, value) }
	share("Owner", f.Owner)
	share("Rule", f.Rule)
	share("Class", f.Class)
	share("ErrorType", f.ErrorType)
	share("Fingerprint", f.Fingerprint)
	share("Version", f.Version)
	of("Hops.Service", f.Service)
	if f.Operation != "" {
		add("(e.Operation = ? OR arrayExists((x, n) -> n = Number AND x = ?, Shares.Operation, Shares.Entry))", f.Operation, f.Operation)
	}
	if f.Caller != "" || f.Callee != "" {
		var values []any
		is := func(column, value string) string {
			if value == "" {
				return "1"
			}
			values = append(values, value)
			return column + " = ?"
		}
		edge := fmt.Sprintf(`arrayExists((n, kind, caller, callee, via, target, service, peer) -> n = Number AND (kind = 'edge' AND %s AND %s
			OR kind = 'service' AND (%s AND %s OR %s AND %s) OR kind = 'peer' AND %s AND %s),
			Shares.Entry, Shares.Kind, Shares.Caller, Shares.Callee, Shares.Via, Shares.Target, Shares.Service, Shares.Peer)`,
			is("caller", f.Caller), is("callee", f.Callee), is("via", f.Caller), is("service", f.Callee), is("service", f.Caller), is("target", f.Callee),
			is("via", f.Caller), is("peer", f.Callee))
		add(edge, values...)
	}
	if f.Entry != "" {
		add("(e.Service = ? OR e.Operation = ? OR concat(e.Service, ' ', e.Operation) = ?)", f.Entry, f.Entry, f.Entry)
	}
	if f.Symptom != "" {
		add("e.Symptom = ?", f.Symptom)
	}
	if f.MinNs > 0 {
		add("e.DurationNs >= ?", f.MinNs)
	}
	if f.MaxNs > 0 {
		add("e.DurationNs <= ?", f.MaxNs)
	}
	for _, key := range slices.Sorted(maps.Keys(f.Attributes)) {
		// The spans of an entry that begins at the end of the window may be stored after it, and those of the one before may take long.
		const around = time.Hour
		add(fmt.Sprintf("TraceId IN (SELECT TraceId FROM %[1]s WHERE has(mapValues(SpanAttributes), ?) AND SpanAttributes[?] = ? AND Timestamp >= '%[2]s' AND Timestamp < '%[3]s' %[5]s ORDER BY Timestamp DESC LIMIT %[4]d)",
			db.spans, nanos(f.From.Add(-around)), nanos(f.To.Add(around)), attributeTraces, db.storedFrom(f.From)), f.Attributes[key], key, f.Attributes[key])
	}
	if f.Before != nil {
		add("(toUnixTimestamp64Nano(e.Start), TraceId, Number) < (?, ?, ?)", f.Before.StartNs, f.Before.TraceID, f.Before.Number)
	}
	return conditions, args
}

// listWindows are the times that are looked through one after the other, the newest first: mostly the first has enough.
var listWindows = [...]time.Duration{time.Hour, 24 * time.Hour, 1 << 62}

// ListVerdicts lists verdicts with a symptom, newest entry first. Which they are is found without what they say, which is most of
// their bytes.
func (db *DB) ListVerdicts(ctx context.Context, f VerdictFilter) ([]VerdictRow, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	if f.Before != nil && f.Before.StartNs < f.To.UnixNano() {
		f.To = time.Unix(0, f.Before.StartNs+1)
	}
	var found []verdictPlace
	from, limit := f.From, f.Limit
	for _, window := range listWindows {
		f.Limit = limit - len(found)
		if f.From = f.To.Add(-min(window, f.To.Sub(from))); f.Limit <= 0 || !f.From.Before(f.To) {
			break
		}
		places, err := db.findVerdicts(ctx, &f)
		if err != nil {
			return nil, err
		}
		found = append(found, places...)
		f.To = f.From
	}
	if len(found) == 0 {
		return nil, nil
	}
	return db.describeVerdicts(ctx, found)
}

// findVerdicts says where verdicts lie, newest entry first.
func (db *DB) findVerdicts(ctx context.Context, f *VerdictFilter) (found []verdictPlace, err error) {
	where, args := f.where(db)
	condition := strings.Join(where, " AND ")
	// Nothing is read that is not asked for: of most verdicts that is all that is read.
	columns := slices.DeleteFunc([]string{"Start", "Service", "Operation", "Symptom", "DurationNs"}, func(column string) bool {
		return !strings.Contains(condition, "e."+column)
	})
	rows, err := db.conn.Query(ctx, "SELECT toStartOfHour(FirstIngest, 'UTC') AS Hour, TraceId, Number FROM "+db.table("verdicts")+" FINAL ARRAY JOIN "+ofEntries(columns...)+
		"arrayEnumerate(Entries.Start) AS Number WHERE "+condition+" ORDER BY e.Start DESC, TraceId DESC, Number DESC LIMIT ?"+
		readSettings+", "+verdictSettings+", distributed_product_mode = 'local'", append(args, f.Limit)...)
	if err != nil {
		return nil, wrap("look for verdicts", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var p verdictPlace
		if err := rows.Scan(&p.hour, &p.trace, &p.number); err != nil {
			return nil, wrap("look for verdicts", err)
		}
		found = append(found, p)
	}
	return found, wrap("look for verdicts", rows.Err())
}

// ofEntries are columns of entries, named as those of an entry e, each with a comma.
func ofEntries(columns ...string) string {
	var text strings.Builder
	for _, column := range columns {
		fmt.Fprintf(&text, "Entries.%[1]s AS `e.%[1]s`, ", column)
	}
	return text.String()
}

// verdictPlace is where a verdict lies.
type verdictPlace struct {
	hour   time.Time
	trace  string
	number uint32
}

// describeVerdicts reads what is listed of verdicts.
func (db *DB) describeVerdicts(ctx context.Context, places []verdictPlace) ([]VerdictRow, error) {
	traces, entries := make([]string, len(places)), make([]string, len(places))
	for i, p := range places {
		traces[i] = fmt.Sprintf("(toDateTime(%d, 'UTC'), %s)", p.hour.Unix(), quoteText(p.trace))
		entries[i] = fmt.Sprintf("(%s, %d)", quoteText(p.trace), p.number)
	}
	rows, err := db.conn.Query(ctx, `SELECT toUnixTimestamp64Nano(e.Start), TraceId, e.SpanId, Number, e.Service, e.Operation, e.DurationNs, e.Symptom, e.Summary, e.Represents,
			arrayDistinct(arrayFilter((s, n) -> n = Number, Shares.Owner, Shares.Entry)) AS Owners,
			arrayDistinct(arrayFilter((s, n) -> n = Number, Shares.Rule, Shares.Entry)) AS Rules
		FROM `+db.table("verdicts")+` FINAL ARRAY JOIN `+ofEntries("Start", "SpanId", "Service", "Operation", "DurationNs", "Symptom", "Summary", "Represents")+`arrayEnumerate(Entries.Start) AS Number
		WHERE (toStartOfHour(FirstIngest, 'UTC'), TraceId) IN (`+strings.Join(traces, ", ")+`) AND (TraceId, Number) IN (`+strings.Join(entries, ", ")+`)
		ORDER BY e.Start DESC, TraceId DESC, Number DESC`+readSettings+", "+verdictSettings)
	if err != nil {
		return nil, wrap("list verdicts", err)
	}
	defer func() { _ = rows.Close() }()
	var list []VerdictRow
	for rows.Next() {
		var v VerdictRow
		err := rows.Scan(&v.Key.StartNs, &v.Key.TraceID, &v.Key.SpanID, &v.Key.Number, &v.Service, &v.Operation, &v.DurationNs, &v.Symptom, &v.Summary, &v.Represents, &v.Owners, &v.Rules)
		if err != nil {
			return nil, wrap("list verdicts", err)
		}
		list = append(list, v)
	}
	return list, wrap("list verdicts", rows.Err())
}

func nanos(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000000000") }
