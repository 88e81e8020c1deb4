package storage

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/whosehop/whosehop/storage/spans"
)

// VerdictFilter selects verdicts; empty fields select all.
type VerdictFilter struct {
	From, To time.Time // of the entry's start
	Owner    string    // of a share
	Service  string    // of a hop
	Entry    string    // the entry's service or operation
	Symptom  string
	// Before continues a listing: only what comes after this one in its order.
	Before *VerdictKey
	Limit  int
}

// VerdictKey is the place of a verdict in a listing, which goes from the newest to the oldest.
type VerdictKey struct {
	StartNs int64
	TraceID string
	SpanID  string
}

// VerdictRow is a verdict in a listing.
type VerdictRow struct {
	Key        VerdictKey
	Service    string
	Operation  string
	DurationNs int64
	Symptom    string
	Summary    string
	Owners     []string
	Rules      []string
}

// readSettings bound every question: a page that takes longer is of no use.
const readSettings = " SETTINGS max_execution_time = 20, max_threads = 2"

// TraceVerdicts returns the JSON of the newest verdicts of a trace, and what they were judged on;
// found is false where it was not judged. Entries without a symptom have no JSON here.
func (db *DB) TraceVerdicts(ctx context.Context, id spans.TraceID) (bodies []string, of SettledTrace, found bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	of.TraceID = id
	rows, err := db.conn.Query(ctx, "SELECT Entries.Body, Version, SpanRows, FirstIngest, LastIngest FROM "+db.table("verdicts")+" WHERE TraceId = ? ORDER BY Version DESC, JudgedAt DESC LIMIT 1"+readSettings, hex.EncodeToString(id[:]))
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

// ListVerdicts lists verdicts with a symptom, newest entry first.
func (db *DB) ListVerdicts(ctx context.Context, f VerdictFilter) ([]VerdictRow, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	where, args := []string{"e.Start >= ?", "e.Start < ?"}, []any{nanos(f.From), nanos(f.To)}
	add := func(condition string, values ...any) {
		where = append(where, condition)
		args = append(args, values...)
	}
	if f.Owner != "" {
		add("has(Owners, ?)", f.Owner)
	}
	if f.Service != "" {
		add("has(arrayFilter((s, n) -> n = Number, Hops.Service, Hops.Entry), ?)", f.Service)
	}
	if f.Entry != "" {
		add("(e.Service = ? OR e.Operation = ? OR concat(e.Service, ' ', e.Operation) = ?)", f.Entry, f.Entry, f.Entry)
	}
	if f.Symptom != "" {
		add("e.Symptom = ?", f.Symptom)
	}
	if f.Before != nil {
		add("(toUnixTimestamp64Nano(e.Start), TraceId, e.SpanId) < (?, ?, ?)", f.Before.StartNs, f.Before.TraceID, f.Before.SpanID)
	}
	args = append(args, f.Limit)
	query := `SELECT toUnixTimestamp64Nano(e.Start), TraceId, e.SpanId, e.Service, e.Operation, e.DurationNs, e.Symptom, e.Summary,
			arrayDistinct(arrayFilter((s, n) -> n = Number, Shares.Owner, Shares.Entry)) AS Owners,
			arrayDistinct(arrayFilter((s, n) -> n = Number, Shares.Rule, Shares.Entry)) AS Rules
		FROM ` + db.table("verdicts") + ` FINAL ARRAY JOIN Entries AS e, arrayEnumerate(Entries.Start) AS Number
		WHERE ` + strings.Join(where, " AND ") + ` ORDER BY e.Start DESC, TraceId DESC, e.SpanId DESC LIMIT ?` + readSettings
	rows, err := db.conn.Query(ctx, query, args...)
	if err != nil {
		return nil, wrap("list verdicts", err)
	}
	defer func() { _ = rows.Close() }()
	var list []VerdictRow
	for rows.Next() {
		var v VerdictRow
		err := rows.Scan(&v.Key.StartNs, &v.Key.TraceID, &v.Key.SpanID, &v.Service, &v.Operation, &v.DurationNs, &v.Symptom, &v.Summary, &v.Owners, &v.Rules)
		if err != nil {
			return nil, wrap("list verdicts", err)
		}
		list = append(list, v)
	}
	return list, wrap("list verdicts", rows.Err())
}

func nanos(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000000000") }

// AttributionRow is what one owner caused and suffered in one step of time.
type AttributionRow struct {
	At    time.Time
	Owner string
	// Caused is the sum of the weights of the owner's shares: over all owners, the number of requests
	// with a symptom. Suffered counts the requests in which its services failed or were cut off
	// through no fault of its own.
	Caused   float64
	Suffered uint64
	// ExcessNs is the time over the baseline that the owner caused.
	ExcessNs int64
}

// Attribution sums up by owner and step, over entries that started in [from, to).
func (db *DB) Attribution(ctx context.Context, from, to time.Time, step time.Duration, owner string) ([]AttributionRow, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	seconds := int64(max(step, time.Second).Seconds())
	rows, err := db.conn.Query(ctx, fmt.Sprintf(`
		SELECT At, Owner, sum(Caused), sum(Suffered), sum(Excess) FROM (
			SELECT toStartOfInterval(toDateTime(Entries.Start[s.Entry], 'UTC'), INTERVAL %[1]d SECOND) AS At, s.Owner AS Owner, s.Weight AS Caused, toUInt64(0) AS Suffered, s.ExcessNs AS Excess
			FROM %[2]s FINAL ARRAY JOIN Shares AS s WHERE Entries.Start[s.Entry] >= ? AND Entries.Start[s.Entry] < ?
			UNION ALL
			SELECT toStartOfInterval(toDateTime(Entries.Start[Number], 'UTC'), INTERVAL %[1]d SECOND) AS At, arrayJoin(
				arrayFilter(o -> NOT has(arrayFilter((s, n) -> n = Number, Shares.Owner, Shares.Entry), o),
					arrayDistinct(arrayFilter((o, n, r) -> n = Number AND r IN ('propagated', 'masked', 'victim', 'amplified'), Hops.Owner, Hops.Entry, Hops.Role)))) AS Owner,
				0. AS Caused, toUInt64(1) AS Suffered, toInt64(0) AS Excess
			FROM %[2]s FINAL ARRAY JOIN arrayEnumerate(Entries.Start) AS Number WHERE Entries.Start[Number] >= ? AND Entries.Start[Number] < ?
		) WHERE ? = '' OR Owner = ? GROUP BY At, Owner ORDER BY At, Owner`, seconds, db.table("verdicts"))+readSettings,
		nanos(from), nanos(to), nanos(from), nanos(to), owner, owner)
	if err != nil {
		return nil, wrap("sum up by owner", err)
	}
	defer func() { _ = rows.Close() }()
	var list []AttributionRow
	for rows.Next() {
		var a AttributionRow
		if err := rows.Scan(&a.At, &a.Owner, &a.Caused, &a.Suffered, &a.ExcessNs); err != nil {
			return nil, wrap("sum up by owner", err)
		}
		list = append(list, a)
	}
	return list, wrap("sum up by owner", rows.Err())
}

// TopRow is one line of a ranking.
type TopRow struct {
	Name     string // the owner, service or edge
	Owner    string
	Caused   float64 // the sum of the weights
	ExcessNs int64
	Rule     string // the most frequent one
	Exemplar string // the newest trace id
	LastNs   int64  // when its entry started, in Unix nanoseconds
}

// topNames are what Top can rank by.
var topNames = map[string]string{
	"owner":   "s.Owner",
	"service": "multiIf(s.Kind = 'edge' AND s.Accountable != '', s.Accountable, s.Kind = 'service', s.Service, s.Kind = 'peer', s.Peer, s.Kind = 'edge', concat(s.Caller, '->', s.Callee), s.Kind)",
	"edge":    "concat(s.Caller, '->', s.Callee, ' ', s.Phase)",
}

// Top ranks what caused the most since from, by owner, service or edge.
func (db *DB) Top(ctx context.Context, from, to time.Time, by string, limit int) ([]TopRow, error) {
	name, ok := topNames[by]
	if !ok {
		return nil, fmt.Errorf("rank by %q: want owner, service or edge", by)
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	rows, err := db.conn.Query(ctx, `SELECT `+name+` AS Name, any(s.Owner), sum(s.Weight) AS Caused, sum(s.ExcessNs), topK(1)(s.Rule)[1],
			argMax(TraceId, Entries.Start[s.Entry]), toUnixTimestamp64Nano(max(Entries.Start[s.Entry]))
		FROM `+db.table("verdicts")+` FINAL ARRAY JOIN Shares AS s
		WHERE Entries.Start[s.Entry] >= ? AND Entries.Start[s.Entry] < ? AND (? != 'edge' OR s.Kind = 'edge')
		GROUP BY Name ORDER BY Caused DESC, Name LIMIT ?`+readSettings, nanos(from), nanos(to), by, limit)
	if err != nil {
		return nil, wrap("rank", err)
	}
	defer func() { _ = rows.Close() }()
	var list []TopRow
	for rows.Next() {
		var r TopRow
		if err := rows.Scan(&r.Name, &r.Owner, &r.Caused, &r.ExcessNs, &r.Rule, &r.Exemplar, &r.LastNs); err != nil {
			return nil, wrap("rank", err)
		}
		list = append(list, r)
	}
	return list, wrap("rank", rows.Err())
}
