package storage

import (
	"context"
	"fmt"
	"time"
)

// IndexDays has the filters over attributes built for the parts of days that are over and that have none: the collector's inserts
// leave them out, and what is not merged any more would never get them. ClickHouse does it when it finds the time. It returns how many
// days it was asked to do.
func (db *DB) IndexDays(ctx context.Context) (days int, err error) {
	if db.spans != db.table("otel_traces") {
		return 0, nil // somebody else's table
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	const name = "indexed"
	// By then the day is one part, mostly, and its merging has built them.
	const after = 3 * time.Hour
	now, err := db.ServerTime(ctx)
	if err != nil {
		return 0, err
	}
	today := now.Add(-after).UTC().Truncate(24 * time.Hour)
	var due []time.Time
	err = db.conn.QueryRow(ctx, fmt.Sprintf(`SELECT arraySort(groupUniqArray(toDate(partition))) FROM system.parts
		WHERE database = currentDatabase() AND table = '%[1]s' AND active AND toDate(partition) < '%[2]s'
			AND toDate(partition) > (SELECT max(toDate(ScannedTo)) FROM %[3]s WHERE Name = '%[4]s')
			AND (SELECT count() FROM system.mutations WHERE database = currentDatabase() AND table = '%[1]s' AND NOT is_done) = 0`,
		db.table("otel_traces"), today.Format(time.DateOnly), db.table("analyzer_progress"), name)).Scan(&due)
	if err != nil {
		return 0, wrap("look for days without filters over attributes", err)
	}
	for _, day := range due {
		text := day.Format(time.DateOnly)
		// It is asked for and not waited for. Where even that takes too long, it is not asked for again while it is under way.
		if err := db.conn.Exec(ctx, fmt.Sprintf("ALTER TABLE %[1]s MATERIALIZE INDEX idx_span_attr_key IN PARTITION '%[2]s', MATERIALIZE INDEX idx_span_attr_value IN PARTITION '%[2]s'",
			db.table("otel_traces"), text)); err != nil {
			return days, wrap("have the filters over attributes built", err)
		}
		days++
		if err := db.conn.Exec(ctx, "INSERT INTO "+db.table("analyzer_progress")+" (Name, ScannedTo) VALUES ('"+name+"', '"+text+" 00:00:00')"); err != nil {
			return days, wrap("record which days have filters over attributes", err)
		}
	}
	return days, nil
}
