package storage

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/whosehop/whosehop/storage/spans"
)

// Review is what somebody said of a verdict. Of those on one entry the newest counts.
type Review struct {
	TraceID     spans.TraceID
	EntrySpanID string
	At          time.Time // to the microsecond
	Kind        string    // confirmed or contested
	Author, Why string
	// Of the verdict as it was then: its version, its sentence, and the rule and the owner of its main share.
	Version              uint32
	Rule, Owner, Summary string
}

// WriteReview stores a review where its trace lies.
func (db *DB) WriteReview(ctx context.Context, r *Review) error {
	const op = "write a review"
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	shard := db.Locals()[db.Shards().Of(r.TraceID)]
	// The driver may close a connection that is back in the pool when the context of a statement that has ended is cancelled: this one
	// ends at its deadline and no sooner.
	deadline, _ := ctx.Deadline()
	ctx, end := context.WithDeadline(context.WithoutCancel(ctx), deadline)
	context.AfterFunc(ctx, end)
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"async_insert": 0}))
	batch, err := shard.conn.PrepareBatch(ctx, "INSERT INTO "+shard.table("verdict_reviews")+" (TraceId, EntrySpanId, At, Kind, Author, Why, Version, Rule, Owner, Summary)")
	if err != nil {
		return wrap(op, err)
	}
	defer func() { _ = batch.Abort() }() // nothing once it is sent
	if err := batch.Append(hex.EncodeToString(r.TraceID[:]), r.EntrySpanID, r.At, r.Kind, r.Author, r.Why, r.Version, r.Rule, r.Owner, r.Summary); err != nil {
		return wrap(op, err)
	}
	return wrap(op, batch.Send())
}

// ReviewFilter selects reviews; empty fields select all.
type ReviewFilter struct {
	TraceID           *spans.TraceID
	From, To          time.Time // when they were given; zero bounds nothing
	Kind, Rule, Owner string
	// Before continues a listing: only what comes after this one in its order.
	Before *ReviewKey
	Limit  int
}

// ReviewKey is the place of a review in a listing, which goes from the newest to the oldest.
type ReviewKey struct {
	AtUs                 int64
	TraceID, EntrySpanID string
}

// ListReviews lists reviews, the newest first.
func (db *DB) ListReviews(ctx context.Context, f ReviewFilter) ([]Review, error) {
	const op = "list reviews"
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	where, args := []string{"1"}, []any{}
	add := func(condition string, values ...any) {
		where = append(where, condition)
		args = append(args, values...)
	}
	if f.TraceID != nil {
		add("TraceId = ?", hex.EncodeToString(f.TraceID[:]))
	}
	if !f.From.IsZero() {
		add("At >= toDateTime64(?, 6, 'UTC')", micros(f.From))
	}
	if !f.To.IsZero() {
		add("At < toDateTime64(?, 6, 'UTC')", micros(f.To))
	}
	for column, value := range map[string]string{"Kind": f.Kind, "Rule": f.Rule, "Owner": f.Owner} {
		if value != "" {
			add(column+" = ?", value)
		}
	}
	if k := f.Before; k != nil {
		add("(toUnixTimestamp64Micro(At), TraceId, EntrySpanId) < (?, ?, ?)", k.AtUs, k.TraceID, k.EntrySpanID)
	}
	args = append(args, f.Limit)
	rows, err := db.conn.Query(ctx, `SELECT TraceId, EntrySpanId, At, Kind, Author, Why, Version, Rule, Owner, Summary FROM `+db.table("verdict_reviews")+`
		WHERE `+strings.Join(where, " AND ")+` ORDER BY At DESC, TraceId DESC, EntrySpanId DESC LIMIT ?`+readSettings, args...)
	if err != nil {
		return nil, wrap(op, err)
	}
	defer func() { _ = rows.Close() }()
	var list []Review
	for rows.Next() {
		var r Review
		var id string
		if err := rows.Scan(&id, &r.EntrySpanID, &r.At, &r.Kind, &r.Author, &r.Why, &r.Version, &r.Rule, &r.Owner, &r.Summary); err != nil {
			return nil, wrap(op, err)
		}
		if n, err := hex.Decode(r.TraceID[:], []byte(id)[:min(len(id), 2*len(r.TraceID))]); err != nil || n != len(r.TraceID) {
			return nil, fmt.Errorf("%s: trace id %q is not 32 hexadecimal digits", op, id)
		}
		list = append(list, r)
	}
	return list, wrap(op, rows.Err())
}

func micros(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000000") }

// ReviewCount is how many verdicts of one rule were confirmed and contested.
type ReviewCount struct {
	Rule                 string
	Confirmed, Contested uint64
}

// CountReviews counts verdicts by the newest review of each, if that was given in [from, to), and by its rule.
func (db *DB) CountReviews(ctx context.Context, from, to time.Time) ([]ReviewCount, error) {
	const op = "count reviews"
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	rows, err := db.conn.Query(ctx, `SELECT NewRule, countIf(NewKind = 'confirmed'), countIf(NewKind = 'contested') FROM (
			SELECT argMax(Rule, (At, Kind)) AS NewRule, argMax(Kind, (At, Kind)) AS NewKind, max(At) AS Newest FROM `+db.table("verdict_reviews")+`
			GROUP BY TraceId, EntrySpanId HAVING Newest >= toDateTime64(?, 6, 'UTC') AND Newest < toDateTime64(?, 6, 'UTC'))
		GROUP BY NewRule ORDER BY count() DESC, NewRule`+readSettings, micros(from), micros(to))
	if err != nil {
		return nil, wrap(op, err)
	}
	defer func() { _ = rows.Close() }()
	var list []ReviewCount
	for rows.Next() {
		var c ReviewCount
		if err := rows.Scan(&c.Rule, &c.Confirmed, &c.Contested); err != nil {
			return nil, wrap(op, err)
		}
		list = append(list, c)
	}
	return list, wrap(op, rows.Err())
}
