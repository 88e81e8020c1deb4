// Command table measures what spans cost in ClickHouse under different definitions of their table: CPU of
// the inserts and of the merges after them, bytes, and both reads. Blocks are ready-made and sorted.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/whosehop/whosehop/benchmarks/load"
	"github.com/whosehop/whosehop/benchmarks/process"
	"github.com/whosehop/whosehop/benchmarks/store"
	"github.com/whosehop/whosehop/storage/native"
	"github.com/whosehop/whosehop/storage/server"
	"github.com/whosehop/whosehop/storage/spans"
)

func main() {
	if server.IsChild(os.Args) {
		os.Exit(server.ChildMain(os.Args))
	}
	engine := flag.String("engine", "../deploy/engine/node_modules/@chdb/lib-linux-x64-gnu/libchdb.so", "the engine's library")
	total := flag.Int("spans", 2_000_000, "spans a variant")
	rows := flag.Int("rows", 50_000, "spans a block")
	columns := flag.Bool("columns", false, "print bytes by column")
	table := flag.String("table", "otel_traces", "the table to insert into")
	flag.Parse()
	payload := load.New(load.Config{SpansPerRequest: 512})
	fmt.Printf("%-28s %9s %9s %9s %8s %7s %7s\n", "variant", "encode us", "insert us", "merge us", "B/span", "parts", "wire B")
	for _, file := range flag.Args() {
		if err := run(file, *engine, *table, payload, *total, *rows, *columns); err != nil {
			log.Fatalf("%s: %v", file, err)
		}
	}
}

func run(file, engine, table string, payload *load.Payload, total, rows int, columns bool) error {
	ctx := context.Background()
	ddl, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "table")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s, err := store.Start(ctx, dir, engine)
	if err != nil {
		return err
	}
	defer s.Stop(ctx)
	if err := s.Run(ctx, string(ddl)); err != nil {
		return err
	}
	options, err := clickhouse.ParseDSN(s.DSN("default"))
	if err != nil {
		return err
	}
	c, err := native.Dial(ctx, native.Options{Address: options.Addr[0], Database: options.Auth.Database, User: options.Auth.Username, Password: options.Auth.Password, DialTimeout: time.Second})
	if err != nil {
		return err
	}
	defer c.Close()
	var block spans.Block
	source := payload.Source()
	encoder := new(native.Encoder)
	var p native.Packed
	sent, wire := 0, 0
	var encode time.Duration
	clickHouse, err := process.Measure(s.PID())
	if err != nil {
		return err
	}
	for sent < total {
		if err := source.Fill(&block, rows); err != nil {
			return err
		}
		start := time.Now()
		p.ID, p.At = uint64(sent), time.Now()
		encoder.Encode(&block, &p)
		encode += time.Since(start)
		wire += len(p.Frames)
		if err := c.Insert(ctx, table, p.Columns, p.Frames, settings(sent)...); err != nil {
			return err
		}
		sent += block.Len()
	}
	inserted, err := clickHouse.CPU()
	if err != nil {
		return err
	}
	parts, err := s.AwaitQuiet(ctx, "default")
	if err != nil {
		return err
	}
	merged, err := clickHouse.CPU()
	if err != nil {
		return err
	}
	if err := s.MergeAll(ctx, "default"); err != nil {
		return err
	}
	if _, err := s.AwaitQuiet(ctx, "default"); err != nil {
		return err
	}
	var bytes, count uint64
	if err := s.Conn.QueryRow(ctx, "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = currentDatabase()").Scan(&bytes); err != nil {
		return err
	}
	if err := s.Conn.QueryRow(ctx, "SELECT count() FROM "+table).Scan(&count); err != nil {
		return err
	}
	per := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(sent) }
	fmt.Printf("%-28s %9.2f %9.2f %9.2f %8.1f %7d %7.1f", filepath.Base(file), per(encode), per(inserted), per(merged-inserted), float64(bytes)/float64(sent), parts, float64(wire)/float64(sent))
	if count != uint64(sent) {
		fmt.Printf("   %d rows of %d", count, sent)
	}
	if err := reads(ctx, s, clickHouse); err != nil {
		return err
	}
	fmt.Println()
	if columns {
		rows, err := s.Conn.Query(ctx, "SELECT concat(table, '.', name), sum(data_compressed_bytes), sum(data_uncompressed_bytes) FROM system.columns WHERE database = currentDatabase() GROUP BY 1 ORDER BY 2 DESC LIMIT 25")
		if err != nil {
			return err
		}
		for rows.Next() {
			var name string
			var packed, raw uint64
			if err := rows.Scan(&name, &packed, &raw); err != nil {
				return err
			}
			fmt.Printf("    %-50s %7.2f %8.1f\n", name, float64(packed)/float64(sent), float64(raw)/float64(sent))
		}
		rows, err = s.Conn.Query(ctx, "SELECT name, sum(data_compressed_bytes) FROM system.data_skipping_indices WHERE database = currentDatabase() GROUP BY 1 UNION ALL SELECT concat('projection ', name), sum(bytes_on_disk) FROM system.projection_parts WHERE database = currentDatabase() AND active GROUP BY 1")
		if err != nil {
			return err
		}
		for rows.Next() {
			var name string
			var packed uint64
			if err := rows.Scan(&name, &packed); err != nil {
				return err
			}
			fmt.Printf("    %-50s %7.2f\n", name, float64(packed)/float64(sent))
		}
	}
	return nil
}

func reads(ctx context.Context, s *store.Store, clickHouse *process.Process) error {
	ids, err := s.Strings(ctx, "SELECT DISTINCT TraceId FROM otel_traces WHERE cityHash64(TraceId) % 97 = 0 LIMIT 1000")
	if err != nil {
		return err
	}
	for _, n := range []int{1, 1000} {
		list := "'" + strings.Join(ids[:min(n, len(ids))], "','") + "'"
		best, bestCPU := time.Hour, time.Hour
		for range 5 {
			from, err := clickHouse.CPU()
			if err != nil {
				return err
			}
			start := time.Now()
			if err := s.Conn.Exec(ctx, "SELECT TraceId, SpanId, SpanName, SpanAttributes FROM otel_traces WHERE TraceId IN ("+list+") FORMAT Null"); err != nil {
				return err
			}
			best = min(best, time.Since(start))
			to, err := clickHouse.CPU()
			if err != nil {
				return err
			}
			bestCPU = min(bestCPU, to-from)
		}
		fmt.Printf("  %d traces %dms/%dms", n, best.Milliseconds(), bestCPU.Milliseconds())
	}
	return nil
}

func settings(n int) (list []native.Setting) {
	list = append(list, native.Setting{Key: "insert_deduplication_token", Value: strconv.Itoa(n)})
	for _, s := range strings.Fields(os.Getenv("SETTINGS")) {
		k, v, _ := strings.Cut(s, "=")
		list = append(list, native.Setting{Key: k, Value: v})
	}
	return list
}
