package storage

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// SeenService is a service with one of the sets of values that the resource attributes asked for have on its spans.
type SeenService struct {
	Name       string
	Attributes map[string]string // without those that are empty
	Spans      uint64
	LastNs     int64 // when its last span was stored, in Unix nanoseconds
}

// The bounds of what is listed.
const (
	seenSetsMax    = 20 // sets of values of one service
	seenSetsListed = 20_000
)

// SeenServices are the services that had spans stored within [from, to), made larger as NewTrafficWindow says, those with the most spans
// first. Attributes that tell instances of a service apart are not kept, and have no values.
func (db *DB) SeenServices(ctx context.Context, from, to time.Time, attributes []string) ([]SeenService, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	values := make([]string, len(attributes))
	for i, key := range attributes {
		values[i] = "Resource[" + quoteText(key) + "]"
	}
	// The same resource comes in every hour: it is looked into once.
	rows, err := db.conn.Query(ctx, fmt.Sprintf(`SELECT Service, CAST([%s], 'Array(String)') AS Values, sum(Seen) AS Spans, toUnixTimestamp64Nano(toDateTime64(max(Latest), 9)) FROM (
			SELECT Service, any(Resource) AS Resource, sum(Calls) AS Seen, max(Last) AS Latest FROM (%s) GROUP BY Service, Hash
		) GROUP BY Service, Values ORDER BY Spans DESC, Service, Values LIMIT %d BY Service LIMIT %d`, strings.Join(values, ", "),
		db.trafficSQL(NewTrafficWindow(from, to, time.Now()), "service", "Service, Hash, Resource, Calls, Last"), seenSetsMax, seenSetsListed)+trafficSettings)
	if err != nil {
		return nil, wrap("look for services", err)
	}
	defer func() { _ = rows.Close() }()
	var list []SeenService
	whole := make(map[string]SeenService)
	for rows.Next() {
		s := SeenService{Attributes: make(map[string]string)}
		var set []string
		if err := rows.Scan(&s.Name, &set, &s.Spans, &s.LastNs); err != nil {
			return nil, wrap("look for services", err)
		}
		for i, value := range set {
			if value != "" {
				s.Attributes[attributes[i]] = value
			}
		}
		list = append(list, s)
		all := whole[s.Name]
		whole[s.Name] = SeenService{Spans: all.Spans + s.Spans, LastNs: max(all.LastNs, s.LastNs)}
	}
	for i := range list {
		list[i].LastNs = whole[list[i].Name].LastNs
	}
	slices.SortStableFunc(list, func(a, b SeenService) int {
		return cmp.Or(cmp.Compare(whole[b.Name].Spans, whole[a.Name].Spans), strings.Compare(a.Name, b.Name))
	})
	return list, wrap("look for services", rows.Err())
}

// Call is that one service called another, or something that sends no spans.
type Call struct {
	Caller, Callee string
	Calls          uint64
}

// Calls are who called whom since a time, those with the most calls first.
func (db *DB) Calls(ctx context.Context, from time.Time) ([]Call, error) {
	now := time.Now()
	edges, err := db.Edges(ctx, NewTrafficWindow(from, now, now))
	if err != nil {
		return nil, err
	}
	var list []Call
	at := make(map[Call]int)
	for i := range edges {
		e := &edges[i]
		if e.Caller == UserCaller && e.Type == "virtual_node" || e.Callee == otherName {
			continue
		}
		pair := Call{Caller: e.Caller, Callee: e.Callee}
		if _, known := at[pair]; !known {
			at[pair] = len(list)
			list = append(list, pair)
		}
		list[at[pair]].Calls += e.Calls
	}
	slices.SortStableFunc(list, func(a, b Call) int { return cmp.Compare(b.Calls, a.Calls) })
	return list, nil
}
