package storage

import (
	"context"
	"fmt"
	"time"
)

// SpanOperation is what a service does.
type SpanOperation struct {
	Name string
	Kind string // internal, server, client, producer or consumer
}

// What is listed at most.
const (
	namesMax       = 20_000
	namesSample    = 5_000            // spans are enough to read keys and values of
	namesSampleMax = 40 * namesSample // when they come in bursts
	valueBytesMax  = 1024             // of a value: nobody picks a longer one from a list
)

// SpanServices are the services that have spans stored. Nothing but their column is read, which the table is ordered by: a condition on
// the time would take ten times as long.
func (db *DB) SpanServices(ctx context.Context) ([]string, error) {
	return db.texts(ctx, "list services", fmt.Sprintf("SELECT DISTINCT ServiceName FROM %s WHERE ServiceName != '' ORDER BY ServiceName LIMIT %d", db.spans, namesMax))
}

// SpanOperations is what a service does, by what is stored.
func (db *DB) SpanOperations(ctx context.Context, service string) ([]SpanOperation, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	kind := FieldRef{Field: FieldKind}
	rows, err := db.conn.Query(ctx, fmt.Sprintf("SELECT DISTINCT toString(SpanName) AS Name, %s AS Kind FROM (SELECT DISTINCT SpanName, SpanKind FROM %s WHERE ServiceName = %s) ORDER BY Name, Kind LIMIT %d",
		kind.expression(), db.spans, quoteText(service), namesMax)+readSettings)
	if err != nil {
		return nil, wrap("list operations", err)
	}
	defer func() { _ = rows.Close() }()
	var list []SpanOperation
	for rows.Next() {
		var o SpanOperation
		if err := rows.Scan(&o.Name, &o.Kind); err != nil {
			return nil, wrap("list operations", err)
		}
		if o.Kind == "unspecified" {
			o.Kind = ""
		}
		list = append(list, o)
	}
	return list, wrap("list operations", rows.Err())
}

// AttributeKeys are the keys of attributes of spans that began in [from, to): of the newest, if there are many.
func (db *DB) AttributeKeys(ctx context.Context, from, to time.Time) (ofSpans, ofResources []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	sample, err := db.newestSpans(ctx, &Match{}, from, to)
	if err != nil {
		return nil, nil, err
	}
	// Of both columns the keys alone are read.
	err = db.conn.QueryRow(ctx, fmt.Sprintf(`SELECT arraySort(groupUniqArrayArray(%[1]d)(OfSpans)), arraySort(groupUniqArrayArray(%[1]d)(OfResources)) FROM (
			SELECT arrayMap(k -> toString(k), mapKeys(SpanAttributes)) AS OfSpans, arrayMap(k -> toString(k), mapKeys(ResourceAttributes)) AS OfResources FROM %[2]s WHERE %[3]s LIMIT %[4]d
		)`, namesMax, db.spans, sample, namesSampleMax)+searchSettings).Scan(&ofSpans, &ofResources)
	return ofSpans, ofResources, wrap("list the keys of attributes", err)
}

// Values are those of a field, of spans that began in [from, to) and that a condition holds for: of the newest, if there are many.
// The most frequent come first. Those of an attribute of the resource are given where no span has such an attribute.
func (db *DB) Values(ctx context.Context, f FieldRef, m Match, from, to time.Time, limit int) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	switch f.Field {
	case FieldAttribute:
		values, err := db.Values(ctx, FieldRef{FieldSpanAttribute, f.Key}, m, from, to, limit)
		if err != nil || len(values) > 0 {
			return values, err
		}
		f.Field = FieldResourceAttribute
		fallthrough
	case FieldSpanAttribute, FieldResourceAttribute:
		m = Match{All: []Match{m, {Field: f.Field, Key: f.Key, Op: OpExists}}} // which indexes are found by
	default:
	}
	sample, err := db.newestSpans(ctx, &m, from, to)
	if err != nil {
		return nil, err
	}
	value := f.expression()
	if f.Field == FieldEventName {
		value = "toString(arrayJoin(Events.Name))"
	}
	return db.texts(ctx, "list values", fmt.Sprintf("SELECT V FROM (SELECT %s AS V FROM %s WHERE %s LIMIT %d) WHERE V != '' AND length(V) <= %d GROUP BY V ORDER BY count() DESC, V LIMIT %d",
		value, db.spans, sample, namesSampleMax, valueBytesMax, min(limit, namesMax)))
}

// newestSpans is a condition for enough of the newest spans, if there are so many.
func (db *DB) newestSpans(ctx context.Context, m *Match, from, to time.Time) (string, error) {
	const first, step = 10 * time.Second, 8
	for part := first; ; part *= step {
		start := to.Add(-part)
		if !start.After(from) {
			start = from
		}
		when := during(start, to)
		where := when + " AND " + db.where(m, when)
		if start.Equal(from) {
			return where, nil
		}
		var spans uint64
		if err := db.conn.QueryRow(ctx, "SELECT count() FROM "+db.spans+" WHERE "+where+searchSettings).Scan(&spans); err != nil {
			return "", wrap("count the newest spans", err)
		}
		if spans >= namesSample {
			return where, nil
		}
	}
}

func (db *DB) texts(ctx context.Context, what, query string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	rows, err := db.conn.Query(ctx, query+searchSettings)
	if err != nil {
		return nil, wrap(what, err)
	}
	defer func() { _ = rows.Close() }()
	var list []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, wrap(what, err)
		}
		list = append(list, s)
	}
	return list, wrap(what, rows.Err())
}
