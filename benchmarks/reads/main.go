// Command reads measures the two reads that the span table is made for, on whosehop's table and on that of the
// OpenTelemetry ClickHouse exporter, with the same spans, in the same engine: all spans of given traces, and
// the newest failing spans of a service in the last hour. The spans are spread over a day.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"math"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/whosehop/whosehop/benchmarks/exporter"
	"github.com/whosehop/whosehop/benchmarks/load"
	"github.com/whosehop/whosehop/benchmarks/store"
	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/storage/server"
)

func main() {
	if server.IsChild(os.Args) {
		os.Exit(server.ChildMain(os.Args))
	}
	engine := flag.String("engine", "../deploy/engine/node_modules/@chdb/lib-linux-x64-gnu/libchdb.so", "the ClickHouse library")
	total := flag.Int("spans", 50_000_000, "spans")
	times := flag.Int("times", 20, "how often each read is made warm")
	cold := flag.Int("cold", 3, "how often each read is made with all caches dropped; needs root")
	dir := flag.String("dir", "", "folder of the database: kept, and not filled again if it is there")
	flag.Parse()
	if err := run(context.Background(), *engine, *dir, *total, *times, *cold); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, engine, dir string, total, times, cold int) error {
	filled := false
	if dir != "" {
		_, err := os.Stat(dir)
		filled = err == nil
	} else {
		temporary, err := os.MkdirTemp("", "bench-reads-")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(temporary) }()
		dir = temporary
	}
	s, err := store.Start(ctx, dir, engine)
	if err != nil {
		return err
	}
	defer s.Stop(ctx)
	db, err := s.Open(ctx, "whosehop")
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	if err := db.Migrate(ctx, storage.Retention{}); err != nil {
		return err
	}
	if !filled {
		if err := fillBoth(ctx, s, total); err != nil {
			return err
		}
	}
	return measure(ctx, s, times, cold)
}

func fillBoth(ctx context.Context, s *store.Store, total int) error {
	began := time.Now()
	if err := s.FillDay(ctx, load.New(load.Config{SpansPerRequest: 512}), total, 0); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "whosehop's table is filled after %s\n", time.Since(began).Round(time.Second))
	if err := exporter.Fill(ctx, s); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "the exporter's table is filled after %s\n", time.Since(began).Round(time.Second))
	_, err := s.AwaitQuiet(ctx, "peer")
	return err
}

// read is one read, as each table is asked for it.
type read struct{ name, ours, theirs string }

func measure(ctx context.Context, s *store.Store, times, cold int) error {
	conn := s.Conn
	for _, table := range []string{"whosehop", "peer"} {
		var rows, bytes, parts uint64
		if err := conn.QueryRow(ctx, "SELECT sum(rows), sum(bytes_on_disk), count() FROM system.parts WHERE active AND database = ? AND table = 'otel_traces'", table).Scan(&rows, &bytes, &parts); err != nil {
			return err
		}
		fmt.Printf("%s.otel_traces: %d spans, %.1f bytes a span, %d parts\n", table, rows, float64(bytes)/float64(rows), parts)
	}
	const columns = "Timestamp, TraceId, SpanId, ParentSpanId, SpanName, SpanKind, ServiceName, ResourceAttributes, SpanAttributes, Duration, StatusCode, StatusMessage, Events.Name, Events.Attributes"
	ids := func(where string) ([]string, error) {
		return s.Strings(ctx, "SELECT DISTINCT concat('''', TraceId, '''') FROM whosehop.otel_traces WHERE "+where+" LIMIT 1000")
	}
	fresh, err := ids("StatusCode = 'Error' AND Timestamp > now() - INTERVAL 1 HOUR AND Timestamp < now() - INTERVAL 10 MINUTE")
	if err != nil {
		return err
	}
	anywhere, err := ids("StatusCode = 'Error' AND cityHash64(TraceId) % 40 = 0")
	if err != nil {
		return err
	}
	of := func(database string, ids []string, more string) string {
		return "SELECT " + columns + " FROM " + database + ".otel_traces WHERE TraceId IN (" + strings.Join(ids, ",") + ")" + more + " FORMAT Null"
	}
	// Grafana's way: the helper says when the trace was.
	helped := func(id string) string {
		return " AND Timestamp >= (SELECT min(Start) FROM peer.otel_traces_trace_id_ts WHERE TraceId = " + id + ") AND Timestamp <= (SELECT max(End) + 1 FROM peer.otel_traces_trace_id_ts WHERE TraceId = " + id + ")"
	}
	newest := func(database string) string {
		return "SELECT " + columns + " FROM " + database + ".otel_traces WHERE ServiceName = 'payment' AND StatusCode = 'Error' AND Timestamp >= now() - INTERVAL 1 HOUR ORDER BY Timestamp DESC LIMIT 20 FORMAT Null"
	}
	attribute := func(database string) string {
		return "SELECT " + columns + " FROM " + database + ".otel_traces WHERE SpanAttributes['user.id'] = 'u0004242' AND Timestamp >= now() - INTERVAL 1 HOUR LIMIT 20 FORMAT Null"
	}
	reads := []read{
		{"1,000 failing traces of the last hour", of("whosehop", fresh, " AND IngestTime >= now() - INTERVAL 61 MINUTE"), of("peer", fresh, " AND Timestamp >= now() - INTERVAL 61 MINUTE")},
		{"1,000 failing traces of the whole day", of("whosehop", anywhere, ""), of("peer", anywhere, "")},
		{"one trace", of("whosehop", anywhere[:1], ""), of("peer", anywhere[:1], helped(anywhere[0]))},
		{"20 newest failing spans of a service, last hour", newest("whosehop"), newest("peer")},
		{"search by attribute, last hour", attribute("whosehop"), attribute("peer")},
	}
	fmt.Printf("%d and %d traces\n", len(fresh), len(anywhere))
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	began := time.Now()
	fmt.Fprintln(t, "milliseconds\twhosehop median\tp99\texporter's median\tp99\tratio\tcold: whosehop\texporter's\tratio\t")
	for _, r := range reads {
		fmt.Fprintf(os.Stderr, "%s, after %s\n", r.name, time.Since(began).Round(time.Second))
		ours, theirs, err := together(ctx, conn, r, times, func() error { return nil })
		if err != nil {
			return err
		}
		coldOurs, coldTheirs, err := together(ctx, conn, r, cold, func() error { return dropCaches(ctx, conn) })
		if err != nil {
			return err
		}
		fmt.Fprintf(t, "%s\t%.0f\t%.0f\t%.0f\t%.0f\t%.2f\t%.0f\t%.0f\t%.2f\t\n", r.name, at(ours, .5), at(ours, .99), at(theirs, .5), at(theirs, .99),
			at(theirs, .5)/at(ours, .5), at(coldOurs, .5), at(coldTheirs, .5), at(coldTheirs, .5)/at(coldOurs, .5))
	}
	return t.Flush()
}

// patience bounds how long one read is repeated, once it was made five times.
const patience = 2 * time.Minute

// together makes both reads in turn, so that noise hits both; the times are sorted milliseconds.
func together(ctx context.Context, conn driver.Conn, r read, times int, before func() error) (ours, theirs []float64, err error) {
	first := time.Now()
	for i := range times {
		if i > 5 && time.Since(first) > patience {
			break
		}
		for k, query := range []string{r.ours, r.theirs} {
			if err := before(); err != nil {
				return nil, nil, err
			}
			began := time.Now()
			if err := conn.Exec(ctx, query); err != nil {
				return nil, nil, fmt.Errorf("%s: %w", r.name, err)
			}
			took := float64(time.Since(began).Microseconds()) / 1000
			switch {
			case i == 0 && times > 10: // warms up
			case k == 0:
				ours = append(ours, took)
			default:
				theirs = append(theirs, took)
			}
		}
	}
	slices.Sort(ours)
	slices.Sort(theirs)
	return ours, theirs, nil
}

// at is a quantile, NaN of nothing.
func at(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	return sorted[int(q*float64(len(sorted)-1))]
}

func dropCaches(ctx context.Context, conn driver.Conn) error {
	for _, cache := range []string{"MARK CACHE", "UNCOMPRESSED CACHE", "INDEX MARK CACHE", "INDEX UNCOMPRESSED CACHE"} {
		if err := conn.Exec(ctx, "SYSTEM DROP "+cache); err != nil {
			return err
		}
	}
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("1"), 0); err != nil {
		return fmt.Errorf("drop the page cache (-cold 0 does without): %w", err)
	}
	return nil
}
