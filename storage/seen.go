package storage

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/ext"
)

// SeenService is a service with one of the sets of values that the resource attributes asked for have on its spans.
type SeenService struct {
	Name       string
	Attributes map[string]string // without those that are empty
	Spans      uint64
	LastNs     int64 // when its last span was stored, in Unix nanoseconds
}

// The bounds of what is looked at.
const (
	seenServicesMax = 20_000
	seenSetsMax     = 20              // sets of values of one service
	seenSample      = 100_000         // of the newest spans, of which attributes are read
	seenSampleMax   = 10 * seenSample // when they come in bursts
	seenSampleLeast = 10 * time.Second
	seenSampleMost  = time.Hour
)

// SeenServices are the services that had spans stored within [from, to), those with the most spans first.
//
// How many spans a service has is counted over all of them, which takes two columns that are next to nothing on disk.
// Attributes are not read of all: of some of the newest spans, and of a service that has none among those, of the spans of
// its last second. So spans are split between the sets of values by what the sample has.
func (db *DB) SeenServices(ctx context.Context, from, to time.Time, attributes []string) ([]SeenService, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	counted, oldest, err := db.countServices(ctx, from, to)
	if err != nil || len(counted) == 0 {
		return nil, wrap("look for services", err)
	}
	total, newest := uint64(0), oldest
	for i := range counted {
		total += counted[i].Spans
		newest = max(newest, counted[i].LastNs)
	}
	window := min(max(time.Duration(float64(newest-oldest)*seenSample/float64(total)), seenSampleLeast), seenSampleMost)
	sample := make(map[string][]SeenService)
	late := fmt.Sprintf("%[1]s >= '%[2]s' AND %[1]s <= '%[3]s'", db.stored, stamp(time.Unix(0, newest).Add(-window)), stamp(time.Unix(0, newest).Add(time.Millisecond)))
	if err := db.sampleServices(ctx, late, attributes, sample); err != nil {
		return nil, wrap("look at the attributes of services", err)
	}
	rest, err := ext.NewTable("seen_last", ext.Column("Name", "String"), ext.Column("At", "DateTime"))
	if err != nil {
		return nil, wrap("look at the attributes of services", err)
	}
	missing := 0
	for i := range counted {
		if c := &counted[i]; sample[c.Name] == nil {
			missing++
			if err := rest.Append(c.Name, time.Unix(0, c.LastNs)); err != nil {
				return nil, wrap("look at the attributes of services", err)
			}
		}
	}
	if missing > 0 {
		last := fmt.Sprintf("%[1]s >= '%[2]s' AND %[1]s < '%[3]s' AND (ServiceName, toDateTime(%[1]s)) IN seen_last", db.stored, stamp(from), stamp(to))
		if err := db.sampleServices(clickhouse.Context(ctx, clickhouse.WithExternalTable(rest)), last, attributes, sample); err != nil {
			return nil, wrap("look at the attributes of services", err)
		}
	}
	var list []SeenService
	for i := range counted {
		list = append(list, counted[i].split(sample[counted[i].Name])...)
	}
	return list, nil
}

// countServices counts spans by service alone, and says when the oldest was stored.
func (db *DB) countServices(ctx context.Context, from, to time.Time) (list []SeenService, oldestNs int64, err error) {
	rows, err := db.conn.Query(ctx, fmt.Sprintf(`SELECT ServiceName, count() AS Spans, toUnixTimestamp64Nano(toDateTime64(max(%[1]s), 9)), toUnixTimestamp64Nano(toDateTime64(min(%[1]s), 9))
		FROM %[2]s WHERE %[1]s >= '%[3]s' AND %[1]s < '%[4]s' AND ServiceName != ''
		GROUP BY ServiceName ORDER BY Spans DESC, ServiceName LIMIT %[5]d`, db.stored, db.spans, stamp(from), stamp(to), seenServicesMax)+readSettings)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var s SeenService
		var firstNs int64
		if err := rows.Scan(&s.Name, &s.Spans, &s.LastNs, &firstNs); err != nil {
			return nil, 0, err
		}
		if list = append(list, s); len(list) == 1 || firstNs < oldestNs {
			oldestNs = firstNs
		}
	}
	return list, oldestNs, rows.Err()
}

// sampleServices adds the sets of values of the spans that fit a condition, by service, those with the most spans first.
func (db *DB) sampleServices(ctx context.Context, where string, attributes []string, into map[string][]SeenService) error {
	values := make([]string, len(attributes))
	for i, key := range attributes {
		values[i] = "Resource[" + quoteText(key) + "]"
	}
	// Resources repeat from span to span: they are told apart by a hash, and looked into once each.
	rows, err := db.conn.Query(ctx, fmt.Sprintf(`SELECT ServiceName, [%s] AS Values, sum(Spans) AS Sum FROM (
			SELECT ServiceName, any(ResourceAttributes) AS Resource, count() AS Spans FROM (
				SELECT ServiceName, ResourceAttributes FROM %s WHERE %s LIMIT %d
			) GROUP BY ServiceName, cityHash64(ResourceAttributes)
		) GROUP BY ServiceName, Values ORDER BY Sum DESC, ServiceName, Values LIMIT %d BY ServiceName`, strings.Join(values, ", "), db.spans, where, seenSampleMax, seenSetsMax)+readSettings)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		s := SeenService{Attributes: make(map[string]string)}
		var set []string
		if err := rows.Scan(&s.Name, &set, &s.Spans); err != nil {
			return err
		}
		for i, value := range set {
			if value != "" {
				s.Attributes[attributes[i]] = value
			}
		}
		into[s.Name] = append(into[s.Name], s)
	}
	return rows.Err()
}

// split makes one service for each set of values in its sample, with as large a part of its spans as of the sample.
func (s *SeenService) split(sample []SeenService) []SeenService {
	if len(sample) == 0 {
		return []SeenService{*s}
	}
	of, left := uint64(0), s.Spans
	for i := range sample {
		of += sample[i].Spans
	}
	list := slices.Clone(sample)
	for i := range list {
		list[i].LastNs = s.LastNs
		list[i].Spans = uint64(float64(s.Spans) * float64(sample[i].Spans) / float64(of))
		left -= list[i].Spans
	}
	list[0].Spans += left
	return list
}

// Call is that one service called another, or something that sends no spans, as far as the baseline knows.
type Call struct {
	Caller, Callee string
	Calls          uint64 // of the last hours; 0 if there was none
}

// seenCallsMax bounds the pairs.
const seenCallsMax = 100_000

// The kinds of baseline cells that say who calls whom, and the counter of calls (package analyzer/baseline).
const (
	cellCallCounts = 10 // caller, what it calls the callee, operation, the callee's service if that is known
	cellQueue      = 11 // producer, consumer
	cellRoute      = 20 // caller, callee, by the minute
	routeMade      = 6
)

// Calls are the pairs that the baseline has learnt or seen since a time, those with the most calls first. What sends no spans is
// there if it was called in the last hours.
func (db *DB) Calls(ctx context.Context, from time.Time) ([]Call, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	rows, err := db.conn.Query(ctx, fmt.Sprintf(`SELECT Caller, Callee, toUInt64(greatest(sum(Made), 0)) AS Calls FROM (
			SELECT Key1 AS Caller, if(Kind = %[1]d, Key4, Key2) AS Callee, toInt64(0) AS Made FROM %[5]s
			WHERE Kind IN (%[1]d, %[2]d) AND At >= '%[7]s'
			UNION ALL
			SELECT Key1, Key2, arraySum(arrayFilter((n, k) -> k = %[4]d, Counts.2, Counts.1)) FROM %[6]s
			WHERE Kind = %[3]d AND At >= '%[7]s'
		) WHERE Caller != '' AND Callee != '' GROUP BY Caller, Callee ORDER BY Calls DESC, Caller, Callee LIMIT %[8]d`,
		cellCallCounts, cellQueue, cellRoute, routeMade, db.table("baseline"), db.table("baseline_recent"), from.UTC().Truncate(time.Hour).Format(time.DateTime), seenCallsMax)+readSettings)
	if err != nil {
		return nil, wrap("look for calls", err)
	}
	defer func() { _ = rows.Close() }()
	var list []Call
	for rows.Next() {
		var c Call
		if err := rows.Scan(&c.Caller, &c.Callee, &c.Calls); err != nil {
			return nil, wrap("look for calls", err)
		}
		list = append(list, c)
	}
	return list, wrap("look for calls", rows.Err())
}
