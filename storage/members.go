package storage

import (
	"context"
	"time"
)

// Heartbeat writes down that an analyzer is there.
func (db *DB) Heartbeat(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	return wrap("say that this analyzer is there", db.conn.Exec(ctx, "INSERT INTO "+db.table("analyzer_members")+" (Name) VALUES (?)", name))
}

// Leave writes down that an analyzer is gone.
func (db *DB) Leave(ctx context.Context, name string) error {
	return wrap("say that this analyzer leaves", db.conn.Exec(ctx, "INSERT INTO "+db.table("analyzer_members")+" (Name, Gone) VALUES (?, true)", name))
}

// Members lists the analyzers that said within a time that they are there, in the order of their names.
func (db *DB) Members(ctx context.Context, within time.Duration) (names []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	err = db.conn.QueryRow(ctx, `SELECT arraySort(groupArray(Name)) FROM (
		SELECT Name FROM `+db.table("analyzer_members")+` GROUP BY Name HAVING max(At) > now64(3) - toIntervalMillisecond(?) AND NOT argMax(Gone, At))`,
		within.Milliseconds()).Scan(&names)
	return names, wrap("look for the other analyzers", err)
}
