package storage

import "time"

// SetJudgedSlack says how long a judgement may take to become visible.
func (db *DB) SetJudgedSlack(slack time.Duration) {
	for _, each := range append(db.Locals(), db) {
		each.slack = slack
	}
}
