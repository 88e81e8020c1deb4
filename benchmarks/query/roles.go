package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/whosehop/whosehop/benchmarks/process"
)

// roles are a query server, and where it listens.
type roles struct {
	child      *process.Child
	http, grpc string
}

func (b *bench) startQuery(ctx context.Context) (r *roles, err error) {
	r = &roles{}
	if r.http, err = process.FreeAddress(); err != nil {
		return nil, err
	}
	if r.grpc, err = process.FreeAddress(); err != nil {
		return nil, err
	}
	args := append([]string{"query", "--storage-dsn", b.store.DSN("whosehop"), "--ownership-file", b.owners, "--query-http", r.http, "--query-grpc", r.grpc}, retention...)
	if r.child, err = process.Start(ctx, nil, b.whosehop, args...); err != nil {
		return nil, err
	}
	if err = awaitReady(ctx, r.http); err != nil {
		r.child.Stop()
		return nil, fmt.Errorf("%w: %s", err, r.child.Said())
	}
	return r, nil
}

func awaitReady(ctx context.Context, address string) error {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/readyz", nil)
		if err != nil {
			return err
		}
		if answer, err := http.DefaultClient.Do(request); err == nil {
			_ = answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return nil
			}
		}
	}
	return errors.Join(ctx.Err(), errors.New("whosehop is not ready"))
}

// settled are what an analyzer makes beside verdicts, until the time that is given: each is a question that answers 1 when
// it is there.
var settled = []struct{ what, query string }{
	{"what is normal", "SELECT toUInt8(max(ScannedTo) > fromUnixTimestamp64Milli(?) - 120) FROM whosehop.analyzer_progress WHERE Name = 'baseline'"},
	{"the sum of each hour's verdicts", `SELECT toUInt8(count() = 0 AND (SELECT count() FROM whosehop.blame_hours) > 1) FROM (SELECT DISTINCT toStartOfHour(FirstIngest, 'UTC') AS Hour FROM whosehop.verdicts
		WHERE FirstIngest < toStartOfHour(fromUnixTimestamp64Milli(?))) WHERE Hour NOT IN (SELECT Hour FROM whosehop.blame_hours)`},
	{"the sum of what is called in each hour", `SELECT toUInt8(count() >= 7 * 24 - 1) FROM (SELECT DISTINCT At FROM whosehop.traffic WHERE Kind = 'made' AND At < fromUnixTimestamp64Milli(?))`},
	{"the filters over attributes of days that are over", `SELECT toUInt8(countIf(NOT is_done) = 0 AND (SELECT max(ScannedTo) FROM whosehop.analyzer_progress WHERE Name = 'indexed') >= toStartOfDay(fromUnixTimestamp64Milli(?)) - INTERVAL 2 DAY)
		FROM system.mutations WHERE database = 'whosehop'`},
}

// settle runs an analyzer until it has made what it makes beside verdicts.
func (b *bench) settle(ctx context.Context) error {
	// As if it had run all week: what is judged need not be looked through again.
	const ranSoFar = "INSERT INTO whosehop.analyzer_progress (Name, ScannedTo) SELECT 'judged 0/1', fromUnixTimestamp64Milli(?)"
	if err := b.store.Conn.Exec(ctx, ranSoFar, b.filled.Judged.UnixMilli()); err != nil {
		return err
	}
	health, err := process.FreeAddress()
	if err != nil {
		return err
	}
	args := append([]string{"analyzer", "--storage-dsn", b.store.DSN("whosehop"), "--analyzer-health", health}, retention...)
	child, err := process.Start(ctx, nil, b.whosehop, args...)
	if err != nil {
		return err
	}
	defer child.Stop()
	began := time.Now()
	for _, s := range settled {
		for deadline := began.Add(20 * time.Minute); ; time.Sleep(time.Second) {
			var done uint8
			if err := b.store.Conn.QueryRow(ctx, s.query, b.filled.To.UnixMilli()).Scan(&done); err != nil {
				return err
			}
			if done == 1 {
				break
			}
			if time.Now().After(deadline) || ctx.Err() != nil {
				return errors.Join(ctx.Err(), fmt.Errorf("%s is not there: %s", s.what, child.Said()))
			}
		}
		fmt.Fprintf(os.Stderr, "%s is there after %s\n", s.what, time.Since(began).Round(time.Second))
	}
	return nil
}
