// Command table measures what spans cost in ClickHouse under different definitions of their table: CPU of
// the inserts and of the merges after them, bytes, and both reads. Blocks are ready-made and sorted.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/whosehop/whosehop/benchmarks/load"
	"github.com/whosehop/whosehop/otlp"
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
	payload := load.New(512)
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
	s, err := server.Start(ctx, server.Config{Dir: dir, Engine: engine, MemoryBytesMax: 8 << 30}, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer s.Stop(ctx)
	options, err := clickhouse.ParseDSN(s.DSN())
	if err != nil {
		return err
	}
	options.Auth.Database = "default"
	conn, err := clickhouse.Open(options)
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, statement := range strings.Split(string(ddl), ";\n") {
		if strings.TrimSpace(statement) != "" {
			if err := conn.Exec(ctx, statement); err != nil {
				return fmt.Errorf("%s: %w", strings.TrimSpace(statement)[:min(60, len(strings.TrimSpace(statement)))], err)
			}
		}
	}
	c, err := native.Dial(ctx, native.Options{Address: options.Addr[0], Database: options.Auth.Database, User: options.Auth.Username, Password: options.Auth.Password, DialTimeout: time.Second})
	if err != nil {
		return err
	}
	defer c.Close()
	var block spans.Block
	var buffer []byte
	encoder := new(native.Encoder)
	var p native.Packed
	request, sent, wire := 0, 0, 0
	var encode time.Duration
	before := cpu(s.PID())
	for sent < total {
		block.Reset()
		for block.Len() < rows {
			buffer = payload.Fresh(buffer, request)
			request++
			if _, err := otlp.Decode(buffer, &block); err != nil {
				return err
			}
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
	inserted := cpu(s.PID())
	parts := settle(ctx, conn)
	merged := cpu(s.PID())
	for _, name := range tables(ctx, conn) {
		if err := conn.Exec(ctx, "OPTIMIZE TABLE "+name+" FINAL"); err != nil {
			return err
		}
	}
	settle(ctx, conn)
	var bytes, count uint64
	if err := conn.QueryRow(ctx, "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = currentDatabase()").Scan(&bytes); err != nil {
		return err
	}
	if err := conn.QueryRow(ctx, "SELECT count() FROM "+table).Scan(&count); err != nil {
		return err
	}
	per := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(sent) }
	fmt.Printf("%-28s %9.2f %9.2f %9.2f %8.1f %7d %7.1f", filepath.Base(file), per(encode), per(inserted-before), per(merged-inserted), float64(bytes)/float64(sent), parts, float64(wire)/float64(sent))
	if count != uint64(sent) {
		fmt.Printf("   %d rows of %d", count, sent)
	}
	reads(ctx, conn, s.PID())
	fmt.Println()
	if columns {
		rows, err := conn.Query(ctx, "SELECT concat(table, '.', name), sum(data_compressed_bytes), sum(data_uncompressed_bytes) FROM system.columns WHERE database = currentDatabase() GROUP BY 1 ORDER BY 2 DESC LIMIT 25")
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
		rows, err = conn.Query(ctx, "SELECT name, sum(data_compressed_bytes) FROM system.data_skipping_indices WHERE database = currentDatabase() GROUP BY 1 UNION ALL SELECT concat('projection ', name), sum(bytes_on_disk) FROM system.projection_parts WHERE database = currentDatabase() AND active GROUP BY 1")
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

func reads(ctx context.Context, conn driver.Conn, pid int) {
	rows, err := conn.Query(ctx, "SELECT DISTINCT TraceId FROM otel_traces WHERE cityHash64(TraceId) % 97 = 0 LIMIT 1000")
	if err != nil {
		return
	}
	var ids []string
	for rows.Next() {
		var id string
		_ = rows.Scan(&id)
		ids = append(ids, "'"+id+"'")
	}
	for _, n := range []int{1, 1000} {
		list := strings.Join(ids[:min(n, len(ids))], ",")
		best, bestCPU := time.Hour, time.Hour
		for range 5 {
			start, from := time.Now(), cpu(pid)
			if err := conn.Exec(ctx, "SELECT TraceId, SpanId, SpanName, SpanAttributes FROM otel_traces WHERE TraceId IN ("+list+") FORMAT Null"); err != nil {
				fmt.Print(err)
			}
			best = min(best, time.Since(start))
			bestCPU = min(bestCPU, cpu(pid)-from)
		}
		fmt.Printf("  %d traces %dms/%dms", n, best.Milliseconds(), bestCPU.Milliseconds())
	}
}

func tables(ctx context.Context, conn driver.Conn) (names []string) {
	rows, err := conn.Query(ctx, "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree'")
	if err != nil {
		return nil
	}
	for rows.Next() {
		var name string
		_ = rows.Scan(&name)
		names = append(names, name)
	}
	return names
}

func settle(ctx context.Context, conn driver.Conn) (parts uint64) {
	for quiet := 0; quiet < 6; {
		var merges, now uint64
		_ = conn.QueryRow(ctx, "SELECT count() FROM system.merges").Scan(&merges)
		_ = conn.QueryRow(ctx, "SELECT count() FROM system.parts WHERE active AND database = currentDatabase()").Scan(&now)
		if quiet++; merges > 0 || now != parts {
			quiet = 0
		}
		parts = now
		time.Sleep(500 * time.Millisecond)
	}
	return parts
}

// cpu is what a process has used, from its clock ticks of 10 ms.
func cpu(pid int) time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

func settings(n int) (list []native.Setting) {
	list = append(list, native.Setting{Key: "insert_deduplication_token", Value: strconv.Itoa(n)})
	for _, s := range strings.Fields(os.Getenv("SETTINGS")) {
		k, v, _ := strings.Cut(s, "=")
		list = append(list, native.Setting{Key: k, Value: v})
	}
	return list
}
