package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ClickHouse/ch-go/compress"
	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/whosehop/whosehop/benchmarks/load"
	"github.com/whosehop/whosehop/otlp"
	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/storage/native"
	"github.com/whosehop/whosehop/storage/server"
	"github.com/whosehop/whosehop/storage/spans"
)

// run measures one contender against an engine of its own.
func run(ctx context.Context, o *options, contender string, payload *load.Payload, s shape) (m measured, err error) {
	dir, err := os.MkdirTemp("", "bench-ingest-")
	if err != nil {
		return m, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	engine, err := server.Start(ctx, server.Config{Dir: dir, Engine: o.engine, MemoryBytesMax: 8 << 30}, slog.New(slog.DiscardHandler))
	if err != nil {
		return m, err
	}
	defer func() { _ = engine.Stop(ctx) }()
	database := "whosehop"
	if strings.HasPrefix(contender, "peer") {
		database = "peer"
	}
	dsn, err := url.Parse(engine.DSN())
	if err != nil {
		return m, err
	}
	dsn.Path = database
	options, err := clickhouse.ParseDSN(dsn.String())
	if err != nil {
		return m, err
	}
	options.Auth.Database = "default"
	conn, err := clickhouse.Open(options)
	if err != nil {
		return m, err
	}
	defer func() { _ = conn.Close() }()
	if contender == "blocks" {
		return runBlocks(ctx, dsn.String(), engine.PID(), conn, payload, o.spans)
	}
	grpcPort, err := freePort()
	if err != nil {
		return m, err
	}
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(grpcPort))
	var cmd *exec.Cmd
	if database == "peer" {
		cmd = exec.CommandContext(ctx, o.peer, "--config", filepath.Join(o.peerConfig, strings.TrimPrefix(contender, "peer-")+".yaml"))
		password, _ := dsn.User.Password()
		cmd.Env = append(os.Environ(), "PEER_GRPC="+address, "PEER_CLICKHOUSE=clickhouse://"+dsn.Host, "PEER_USER="+dsn.User.Username(), "PEER_PASSWORD="+password)
	} else {
		cmd = exec.CommandContext(ctx, o.whosehop, "collector", "--storage-dsn", dsn.String(), "--collector-grpc", address, "--collector-http", "127.0.0.1:0",
			"--collector-health", "127.0.0.1:0", "--collector-spool-dir", filepath.Join(dir, "spool"))
	}
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return m, err
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}()
	if err := await(ctx, address); err != nil {
		return m, fmt.Errorf("%w: %s", err, said.String())
	}
	enginePID := engine.PID()
	resetPeak(cmd.Process.Pid)
	resetPeak(enginePID)
	pipelineBefore, engineBefore, begin := cpu(cmd.Process.Pid), cpu(enginePID), time.Now()
	sent, acks, refused, err := send(ctx, address, payload, s, o.spans)
	if err != nil {
		return m, fmt.Errorf("%w: %s", err, said.String())
	}
	if err := awaitRows(ctx, conn, database, sent); err != nil {
		return m, fmt.Errorf("%w: %s", err, said.String())
	}
	m.rate = float64(sent) / time.Since(begin).Seconds()
	m.pipelineMB, m.engineMB = peakMB(cmd.Process.Pid), peakMB(enginePID)
	m.ackMedian, m.ackP99 = acks.quantile(.5), acks.quantile(.99)
	m.refused = refused
	if err := m.settle(ctx, conn, database, sent, enginePID, engineBefore); err != nil {
		return m, err
	}
	m.pipelineCPU = perSpan(cpu(cmd.Process.Pid)-pipelineBefore, sent)
	return m, nil
}

// runBlocks inserts ready-made blocks: what whosehop's collector would send, made before it is measured, and
// packed with LZ4 on the way, as a driver does.
func runBlocks(ctx context.Context, dsn string, enginePID int, conn clickhouse.Conn, payload *load.Payload, total int) (m measured, err error) {
	const rows, inFlight = 65_000, 2
	db, err := storage.Open(ctx, dsn, slog.New(slog.DiscardHandler))
	if err != nil {
		return m, err
	}
	defer func() { _ = db.Close() }()
	if err := db.Migrate(ctx, storage.Retention{Spans: 7 * 24 * time.Hour}); err != nil {
		return m, err
	}
	var blocks []native.Packed
	var block spans.Block
	var buffer []byte
	encoder := new(native.Encoder)
	sent := 0
	for request := 0; sent < total; {
		block.Reset()
		for block.Len() < rows {
			buffer = payload.Fresh(buffer, request)
			request++
			if _, err := otlp.Decode(buffer, &block); err != nil {
				return m, err
			}
		}
		p := native.Packed{ID: uint64(request), At: time.Now()}
		encoder.Encode(&block, &p)
		if p.Frames, err = io.ReadAll(compress.NewReader(bytes.NewReader(p.Frames))); err != nil && !errors.Is(err, io.EOF) {
			return m, err
		}
		blocks = append(blocks, p)
		sent += p.Rows
	}
	resetPeak(enginePID)
	engineBefore, selfBefore, begin := cpu(enginePID), cpu(os.Getpid()), time.Now()
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
	m.pipelineCPU = perSpan(cpu(os.Getpid())-selfBefore, sent)
	m.engineMB = peakMB(enginePID)
	return m, m.settle(ctx, conn, "whosehop", sent, enginePID, engineBefore)
}

func perSpan(used time.Duration, spans int) float64 {
	return float64(used.Nanoseconds()) / 1000 / float64(spans)
}

// settle waits until nothing is merged any more, then asks for the bytes after all is merged.
func (m *measured) settle(ctx context.Context, conn clickhouse.Conn, database string, sent, enginePID int, engineBefore time.Duration) error {
	const quietFor = 10 // polls of half a second
	var parts, merges uint64
	for quiet := 0; quiet < quietFor; quiet++ {
		var now uint64
		if err := conn.QueryRow(ctx, "SELECT (SELECT count() FROM system.merges), count() FROM system.parts WHERE active AND database = ?", database).Scan(&merges, &now); err != nil {
			return err
		}
		if merges > 0 || now != parts {
			quiet, parts = 0, now
		}
		time.Sleep(500 * time.Millisecond)
	}
	m.engineCPU = perSpan(cpu(enginePID)-engineBefore, sent)
	var mergedRows uint64
	if err := conn.QueryRow(ctx, "SELECT sum(value) FROM system.events WHERE event = 'MergedRows'").Scan(&mergedRows); err != nil {
		return err
	}
	m.merged = float64(mergedRows) / float64(sent)
	rows, err := conn.Query(ctx, "SELECT name FROM system.tables WHERE database = ? AND engine LIKE '%MergeTree'", database)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var table string
		if err := rows.Scan(&table); err != nil {
			return err
		}
		if err := conn.Exec(clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"max_execution_time": 600})), "OPTIMIZE TABLE "+database+"."+table+" FINAL"); err != nil {
			return err
		}
	}
	var bytes uint64
	if err := conn.QueryRow(ctx, "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = ?", database).Scan(&bytes); err != nil {
		return err
	}
	m.bytes = float64(bytes) / float64(sent)
	return rows.Err()
}

func awaitRows(ctx context.Context, conn clickhouse.Conn, database string, want int) error {
	var n uint64
	for deadline := time.Now().Add(5 * time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err := conn.QueryRow(ctx, "SELECT count() FROM "+database+".otel_traces").Scan(&n); err == nil && n >= uint64(want) {
			if n > uint64(want) {
				err := fmt.Errorf("%d rows are stored of %d spans", n, want)
				if database == "whosehop" {
					return err
				}
				fmt.Fprintln(os.Stderr, "the peer stored spans twice:", err)
			}
			return nil
		}
	}
	return fmt.Errorf("only %d rows are stored of %d spans", n, want)
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func await(ctx context.Context, address string) error {
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address); err == nil {
			return conn.Close()
		}
	}
	return errors.New("nothing listens on " + address)
}

// cpu is what a process has used, in clock ticks of 10 ms.
func cpu(pid int) time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// resetPeak begins a new peak of resident memory.
func resetPeak(pid int) {
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
}

func peakMB(pid int) float64 {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	kb, _, _ := strings.Cut(strings.TrimSpace(after), " ")
	n, _ := strconv.Atoi(kb)
	return float64(n) / 1024
}
