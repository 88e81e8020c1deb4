package storage

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// TrafficWindow is a time that traffic is read of: what was asked for, made larger to whole minutes, or further back whole hours.
type TrafficWindow struct {
	From, To time.Time
	grain    Grain
}

// NewTrafficWindow is the window of what was stored in [from, to). To the minute where it begins within the last hours; now is
// the server's or nearly so.
func NewTrafficWindow(from, to, now time.Time) TrafficWindow {
	w := TrafficWindow{grain: ByHour}
	if !from.Before(now.Add(-TrafficRecentFor)) {
		w.grain = ByMinute
	}
	step := time.Duration(w.grain)
	w.From, w.To = from.UTC().Truncate(step), to.UTC().Truncate(step)
	if w.To.Before(to) {
		w.To = w.To.Add(step)
	}
	return w
}

// trafficSQL is the rows of a kind in a window. Of an hour that is not whole yet, its minutes stand for it.
func (db *DB) trafficSQL(w TrafficWindow, kind, columns string) string {
	within := fmt.Sprintf("Kind = '%s' AND At >= '%s' AND At < '%s'", kind, dateTime(w.From), dateTime(w.To))
	minutes := "SELECT " + columns + " FROM " + db.table("traffic_recent") + " FINAL WHERE " + within + " AND At IN (" + db.madeSQL(ByMinute, w.From) + ")"
	if w.grain == ByMinute {
		return minutes
	}
	hours := db.madeSQL(ByHour, w.From)
	return "SELECT " + columns + " FROM " + db.table("traffic") + " FINAL WHERE " + within + " AND At IN (" + hours + ") UNION ALL " +
		minutes + " AND toStartOfHour(At) NOT IN (" + hours + ")"
}

// madeSQL is the minutes or hours that are there as a whole. Each shard of a cluster has its own.
func (db *DB) madeSQL(grain Grain, from time.Time) string {
	table := db.table(grain.table())
	if db.cluster != nil {
		table += localSuffix
	}
	return fmt.Sprintf("SELECT At FROM %s WHERE Kind = 'made' AND At >= '%s'", table, dateTime(from))
}

// trafficSettings bound a question, and let partitions that are merged be read without looking for rows that were replaced.
const trafficSettings = readSettings + ", do_not_merge_across_partitions_select_final = 1"

// The most that is listed.
const (
	operationsMax = 50_000
	edgesMax      = 50_000
	versionsMax   = 50_000
)

// Operation is what was called of an operation.
type Operation struct {
	Service, Name, Kind string // the kind as ClickHouse has it: Server, Client, ...
	Calls, Failed       uint64 // failed are those with the status Error
	Entries             uint64 // how many of the calls were a trace's first span
	DurationNs          uint64 // of all calls
	Buckets             []uint64
}

// Operations lists operations, those with the most calls first.
func (db *DB) Operations(ctx context.Context, w TrafficWindow) ([]Operation, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	rows, err := db.conn.Query(ctx, `SELECT Service, Name, Type, sum(Calls) AS Made, sum(Failed), sum(Entries), sum(DurationNs), sumForEach(Buckets)
		FROM (`+db.trafficSQL(w, "operation", "Service, Name, Type, Calls, Failed, Entries, DurationNs, Buckets")+`)
		GROUP BY Service, Name, Type ORDER BY Made DESC, Service, Name, Type`+fmt.Sprintf(" LIMIT %d", operationsMax)+trafficSettings)
	if err != nil {
		return nil, wrap("list operations", err)
	}
	defer func() { _ = rows.Close() }()
	var list []Operation
	for rows.Next() {
		var o Operation
		if err := rows.Scan(&o.Service, &o.Name, &o.Kind, &o.Calls, &o.Failed, &o.Entries, &o.DurationNs, &o.Buckets); err != nil {
			return nil, wrap("list operations", err)
		}
		list = append(list, o)
	}
	return list, wrap("list operations", rows.Err())
}

// StatusCalls is what was called of an operation that ended with a status.
type StatusCalls struct {
	Service, Name, Kind, Status string // the last two as ClickHouse has them: Server, Client, ...; Unset, Ok, Error
	Calls, Entries              uint64
	DurationNs                  uint64 // of all calls
	Buckets                     []uint64
}

// CallsByStatus lists operations and how they ended, in no order.
func (db *DB) CallsByStatus(ctx context.Context, w TrafficWindow) ([]StatusCalls, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	rows, err := db.conn.Query(ctx, `SELECT Service, Name, Type, Status, sum(Calls), sum(Entries), sum(DurationNs), sumForEach(Buckets)
		FROM (`+db.trafficSQL(w, "operation", "Service, Name, Type, Status, Calls, Entries, DurationNs, Buckets")+`)
		GROUP BY Service, Name, Type, Status`+fmt.Sprintf(" LIMIT %d", operationsMax)+trafficSettings)
	if err != nil {
		return nil, wrap("list calls", err)
	}
	defer func() { _ = rows.Close() }()
	var list []StatusCalls
	for rows.Next() {
		var c StatusCalls
		if err := rows.Scan(&c.Service, &c.Name, &c.Kind, &c.Status, &c.Calls, &c.Entries, &c.DurationNs, &c.Buckets); err != nil {
			return nil, wrap("list calls", err)
		}
		list = append(list, c)
	}
	return list, wrap("list calls", rows.Err())
}

// Edge is what one service called of another, or of something that sends no spans.
type Edge struct {
	Caller, Callee string
	// Type is empty, messaging_system, database, or virtual_node: one of the two sends no spans. The caller of what came in is then "user".
	Type string
	// Calls, and those that failed as the caller saw it. Of what came in nobody else saw it.
	Calls, Failed uint64
	// What the caller saw, and what the callee did: the sum of the durations, and counts by bucket. Buckets of who sends no spans are empty.
	ClientNs, ServerNs           uint64
	ClientBuckets, ServerBuckets []uint64
}

// UserCaller is the caller of what came in.
const UserCaller = "user"

// Edges lists who called whom, those with the most calls first.
func (db *DB) Edges(ctx context.Context, w TrafficWindow) ([]Edge, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	rows, err := db.conn.Query(ctx, `SELECT Service, Name, Type, sum(Calls) AS Made, sum(Failed), sum(DurationNs), sum(ServerNs), sumForEach(Buckets), sumForEach(ServerBuckets)
		FROM (`+db.trafficSQL(w, "edge", "Service, Name, Type, Calls, Failed, DurationNs, ServerNs, Buckets, ServerBuckets")+`)
		GROUP BY Service, Name, Type ORDER BY Made DESC, Service, Name, Type`+fmt.Sprintf(" LIMIT %d", edgesMax)+trafficSettings)
	if err != nil {
		return nil, wrap("list edges", err)
	}
	defer func() { _ = rows.Close() }()
	var list []Edge
	for rows.Next() {
		var e Edge
		if err := rows.Scan(&e.Caller, &e.Callee, &e.Type, &e.Calls, &e.Failed, &e.ClientNs, &e.ServerNs, &e.ClientBuckets, &e.ServerBuckets); err != nil {
			return nil, wrap("list edges", err)
		}
		list = append(list, e)
	}
	return list, wrap("list edges", rows.Err())
}

// SeenVersion is a service.version of a service, and when its first and its last span was stored.
type SeenVersion struct {
	Service, Version string // empty for spans that say none
	Spans            uint64
	First, Last      time.Time
}

// Versions lists the versions of services, of all or of some, by service and when they were first seen. What is older than the window is
// not known: to say that a version is new, the window must have had another one before.
func (db *DB) Versions(ctx context.Context, w TrafficWindow, services ...string) ([]SeenVersion, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	only := ""
	if len(services) > 0 {
		quoted := make([]string, len(services))
		for i, s := range services {
			quoted[i] = quoteText(s)
		}
		only = " WHERE Service IN (" + strings.Join(quoted, ", ") + ")"
	}
	rows, err := db.conn.Query(ctx, `SELECT Service, Name, sum(Calls), min(First) AS Began, max(Last)
		FROM (`+db.trafficSQL(w, "service", "Service, Name, Calls, First, Last")+`)`+only+`
		GROUP BY Service, Name ORDER BY Service, Began, Name`+fmt.Sprintf(" LIMIT %d", versionsMax)+trafficSettings)
	if err != nil {
		return nil, wrap("list versions", err)
	}
	defer func() { _ = rows.Close() }()
	var list []SeenVersion
	for rows.Next() {
		var v SeenVersion
		if err := rows.Scan(&v.Service, &v.Version, &v.Spans, &v.First, &v.Last); err != nil {
			return nil, wrap("list versions", err)
		}
		v.First, v.Last = v.First.UTC(), v.Last.UTC()
		list = append(list, v)
	}
	return list, wrap("list versions", rows.Err())
}
