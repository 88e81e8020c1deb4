package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/ch-go/compress"
	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/whosehop/whosehop/benchmarks/load"
	"github.com/whosehop/whosehop/benchmarks/process"
	"github.com/whosehop/whosehop/benchmarks/store"
	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/storage/native"
	"github.com/whosehop/whosehop/storage/spans"
)

// run measures one contender against an engine of its own.
func run(ctx context.Context, o *options, contender string, payload *load.Payload, s shape) (m measured, err error) {
	dir, err := os.MkdirTemp("", "bench-ingest-")
	if err != nil {
		return m, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	engine, err := store.Start(ctx, dir, o.engine)
	if err != nil {
		return m, err
	}
	defer engine.Stop(ctx)
	database := "whosehop"
	if strings.HasPrefix(contender, "peer") {
		database = "peer"
	}
	if contender == "blocks" {
		return runBlocks(ctx, engine, payload, o.spans)
	}
	address, err := process.FreeAddress()
	if err != nil {
		return m, err
	}
	program, args, env := o.whosehop, []string{
		"collector", "--storage-dsn", engine.DSN(database), "--collector-grpc", address, "--collector-http", "127.0.0.1:0",
		"--collector-health", "127.0.0.1:0", "--collector-spool-dir", filepath.Join(dir, "spool"),
	}, []string(nil)
	if database == "peer" {
		program, args = o.peer, []string{"--config", filepath.Join(o.peerConfig, strings.TrimPrefix(contender, "peer-")+".yaml")}
		dsn, err := url.Parse(engine.DSN(database))
		if err != nil {
			return m, err
		}
		password, _ := dsn.User.Password()
		env = []string{"PEER_GRPC=" + address, "PEER_CLICKHOUSE=clickhouse://" + dsn.Host, "PEER_USER=" + dsn.User.Username(), "PEER_PASSWORD=" + password}
	}
	child, err := process.Start(ctx, env, program, args...)
	if err != nil {
		return m, err
	}
	defer child.Stop()
	if err := process.Await(ctx, address); err != nil {
		return m, fmt.Errorf("%w: %s", err, child.Said())
	}
	pipeline, err := process.Measure(child.PID())
	if err != nil {
		return m, err
	}
	clickHouse, err := process.Measure(engine.PID())
	if err != nil {
		return m, err
	}
	begin := time.Now()
	sent, acks, refused, err := send(ctx, address, payload, s, o.spans)
	if err != nil {
		return m, fmt.Errorf("%w: %s", err, child.Said())
	}
	if err := awaitRows(ctx, engine.Conn, database, sent); err != nil {
		return m, fmt.Errorf("%w: %s", err, child.Said())
	}
	m.rate = float64(sent) / time.Since(begin).Seconds()
	if m.pipelineMB, err = pipeline.PeakMB(); err != nil {
		return m, err
	}
	if m.engineMB, err = clickHouse.PeakMB(); err != nil {
		return m, err
	}
	m.ackMedian, m.ackP99 = acks.quantile(.5), acks.quantile(.99)
	m.refused = refused
	if err := m.settle(ctx, engine, database, sent, clickHouse); err != nil {
		return m, fmt.Errorf("%w: %s", err, child.Said())
	}
	used, err := pipeline.CPU()
	m.pipelineCPU = perSpan(used, sent)
	return m, err
}

// runBlocks inserts ready-made blocks: what whosehop's collector would send, made before it is measured, and
// packed with LZ4 on the way, as a driver does.
func runBlocks(ctx context.Context, engine *store.Store, payload *load.Payload, total int) (m measured, err error) {
	const rows, inFlight = 65_000, 2
	db, err := engine.Open(ctx, "whosehop")
	if err != nil {
		return m, err
	}
	defer func() { _ = db.Close() }()
	if err := db.Migrate(ctx, storage.Retention{Spans: 7 * 24 * time.Hour}); err != nil {
		return m, err
	}
	var blocks []native.Packed
	var block spans.Block
	source := payload.Source()
	encoder := new(native.Encoder)
	sent := 0
	for sent < total {
		if err := source.Fill(&block, rows); err != nil {
			return m, err
		}
		p := native.Packed{ID: uint64(source.Taken()), At: time.Now()}
		encoder.Encode(&block, &p)
		if p.Frames, err = io.ReadAll(compress.NewReader(bytes.NewReader(p.Frames))); err != nil && !errors.Is(err, io.EOF) {
			return m, err
		}
		blocks = append(blocks, p)
		sent += p.Rows
	}
	self, err := process.Measure(os.Getpid())
	if err != nil {
		return m, err
	}
	clickHouse, err := process.Measure(engine.PID())
	if err != nil {
		return m, err
	}
	begin := time.Now()
	errs := make(chan error, inFlight)
	work := make(chan *native.Packed)
	for range inFlight {
		go func() {
			var err error
			writer := compress.NewWriter(compress.LevelZero, compress.LZ4)
			var frames []byte
			for p := range work {
				frames = frames[:0]
				for part := range slices.Chunk(p.Frames, 1<<20) {
					if err == nil {
						err = writer.Compress(part)
						frames = append(frames, writer.Data...)
					}
				}
				packed := *p
				packed.Frames = frames
				if err == nil {
					err = db.InsertBlock(ctx, &packed, false)
				}
			}
			errs <- err
		}()
	}
	for i := range blocks {
		work <- &blocks[i]
	}
	close(work)
	for range inFlight {
		if err := <-errs; err != nil {
			return m, err
		}
	}
	m.rate = float64(sent) / time.Since(begin).Seconds()
	used, err := self.CPU()
	if err != nil {
		return m, err
	}
	m.pipelineCPU = perSpan(used, sent)
	if m.engineMB, err = clickHouse.PeakMB(); err != nil {
		return m, err
	}
	return m, m.settle(ctx, engine, "whosehop", sent, clickHouse)
}

// settle waits until nothing is merged any more, holds what is stored against what was sent, and then asks
// for the bytes after all is merged.
func (m *measured) settle(ctx context.Context, engine *store.Store, database string, sent int, clickHouse *process.Process) error {
	var checked time.Duration // what looking at the rows took of ClickHouse
	var rows, distinct uint64
	for deadline := time.Now().Add(stalledMax); ; {
		if _, err := engine.AwaitQuiet(ctx, database); err != nil {
			return err
		}
		used, err := clickHouse.CPU()
		if err != nil {
			return err
		}
		m.engineCPU = perSpan(used-checked, sent)
		if err := engine.Conn.QueryRow(ctx, "SELECT count(), uniqExact(TraceId, SpanId) FROM "+database+".otel_traces").Scan(&rows, &distinct); err != nil {
			return err
		}
		if distinct >= uint64(sent) || time.Now().After(deadline) {
			break
		}
		// The rest is still on its way: some were stored twice, so that awaitRows was content too early.
		after, err := clickHouse.CPU()
		if err != nil {
			return err
		}
		checked += after - used
		fmt.Fprintf(os.Stderr, "%d of %d spans are stored yet; the rate of this run is too high\n", distinct, sent)
	}
	m.twice = int(rows) - sent
	// The exporter's retries store a batch twice when its answer came late: that is its way, and is shown.
	if distinct != uint64(sent) || m.twice != 0 && database == "whosehop" {
		return fmt.Errorf("%d rows are stored, of %d different spans, where %d were sent", rows, distinct, sent)
	}
	return m.merge(ctx, engine, database, rows)
}

// merge merges all that there is and sees how much that is.
func (m *measured) merge(ctx context.Context, engine *store.Store, database string, stored uint64) error {
	var mergedRows, bytes uint64
	if err := engine.Conn.QueryRow(ctx, "SELECT sum(value) FROM system.events WHERE event = 'MergedRows'").Scan(&mergedRows); err != nil {
		return err
	}
	m.merged = float64(mergedRows) / float64(stored)
	if err := engine.MergeAll(ctx, database); err != nil {
		return err
	}
	if err := engine.Conn.QueryRow(ctx, "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = ?", database).Scan(&bytes); err != nil {
		return err
	}
	m.bytes = float64(bytes) / float64(stored)
	return nil
}

// stalledMax is longer than the exporter waits for an answer and then until it tries again.
const stalledMax = 3 * time.Minute

// awaitRows returns when so many rows are stored.
func awaitRows(ctx context.Context, conn clickhouse.Conn, database string, want int) error {
	var n, before uint64
	for deadline := time.Now().Add(stalledMax); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err := ctx.Err(); err != nil {
			return err
		}
		// The peer makes the table when it likes.
		if err := conn.QueryRow(ctx, "SELECT count() FROM "+database+".otel_traces").Scan(&n); err == nil && n >= uint64(want) {
			return nil
		}
		if n > before {
			before, deadline = n, time.Now().Add(stalledMax)
		}
	}
	return fmt.Errorf("only %d rows are stored of %d spans", n, want)
}

func perSpan(used time.Duration, spans int) float64 {
	return float64(used.Nanoseconds()) / 1000 / float64(spans)
}
