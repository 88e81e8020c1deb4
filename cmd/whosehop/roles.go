package main

import (
	"context"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	"github.com/whosehop/whosehop/analyzer"
	"github.com/whosehop/whosehop/collector"
	"github.com/whosehop/whosehop/internal/telemetry"
	"github.com/whosehop/whosehop/ownership"
	"github.com/whosehop/whosehop/ownership/stored"
	"github.com/whosehop/whosehop/query"
	"github.com/whosehop/whosehop/query/compat"
	"github.com/whosehop/whosehop/query/grpcapi"
	"github.com/whosehop/whosehop/query/mcp"
	"github.com/whosehop/whosehop/query/rest"
	"github.com/whosehop/whosehop/query/web"
	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/storage/native"
	"github.com/whosehop/whosehop/storage/server"
)

type (
	upCmd        struct{}
	collectorCmd struct{}
	analyzerCmd  struct{}
	queryCmd     struct{}
)

func (upCmd) Help() string {
	return "Example:\n  whosehop up --storage-dir /var/lib/whosehop --ownership-file owners.yaml"
}

func (collectorCmd) Help() string {
	return "Example:\n  whosehop collector --storage-dsn clickhouse://user:password@ch:9000/whosehop --collector-grpc 0.0.0.0:4317 --collector-token SECRET"
}

func (analyzerCmd) Help() string {
	return "Example:\n  whosehop analyzer --storage-dsn clickhouse://user:password@ch:9000/whosehop --ownership-file owners.yaml"
}

func (queryCmd) Help() string {
	return "Example:\n  whosehop query --storage-dsn clickhouse://user:password@ch:9000/whosehop --query-http 127.0.0.1:8080"
}

func (upCmd) Run(ctx context.Context, s *streams, set *Settings) error {
	return serve(ctx, s, set, roles{collect: true, analyze: true, serve: true})
}

func (collectorCmd) Run(ctx context.Context, s *streams, set *Settings) error {
	return serve(ctx, s, set, roles{collect: true})
}

func (analyzerCmd) Run(ctx context.Context, s *streams, set *Settings) error {
	return serve(ctx, s, set, roles{analyze: true})
}

func (queryCmd) Run(ctx context.Context, s *streams, set *Settings) error {
	return serve(ctx, s, set, roles{serve: true})
}

const (
	// memoryBeside is what a collector needs beside what is pending, in bytes; analyzerBeside an analyzer beside
	// the spans that are being judged: verdicts on their way, what is normal, which traces are there.
	memoryBeside   = 96 << 20
	analyzerBeside = 160 << 20
)

// limitMemory keeps the garbage between bounds, where what is held is bounded already. GOMEMLIMIT has the last word.
func limitMemory(held size, beside int64) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(int64(held) + beside)
	}
}

// stopTimeout bounds what is done after the roles have ended.
const stopTimeout = 20 * time.Second

// serve runs roles until ctx ends. What was started last is stopped first.
func serve(ctx context.Context, s *streams, set *Settings, r roles) error {
	if err := set.validate(r); err != nil {
		return usageError{err}
	}
	log, err := telemetry.NewLogger(s.err, set.Log.Level, set.Log.Format)
	if err != nil {
		return usageError{err}
	}
	all := r.collect && r.analyze && r.serve
	if set.Storage.DSN == "" && !all {
		return usageError{errors.New("storage.dsn: a single role needs a ClickHouse that the others reach too; name it with --storage-dsn")}
	}
	file, err := set.Ownership.read(set.Ownership.File, log)
	if err != nil {
		return err
	}
	for _, p := range set.ports(r) {
		if p.leaves() && !p.encrypted {
			log.Warn("a port leaves this machine unencrypted: tokens and spans can be read on the way", "key", p.key, "address", p.address)
		}
	}
	return start(ctx, s, set, r, file, log)
}

// unlessEnded is what went wrong at the start, or nil when the user ended the program meanwhile: then
// whatever was under way was broken off, and says so in words of its own.
func unlessEnded(ctx context.Context, err error) error {
	if ended := ctx.Err() != nil; ended {
		err = nil
	}
	return err
}

// start brings up the storage and what stands on it, and runs it until ctx ends. File is what ownership.file says.
func start(ctx context.Context, s *streams, set *Settings, r roles, file *ownership.Wanted, log *slog.Logger) error {
	if r == (roles{analyze: true}) {
		limitMemory(set.Analyze.MemoryBytesMax, analyzerBeside)
	}
	if r == (roles{collect: true}) {
		limitMemory(set.Collect.PendingBytesMax, memoryBeside)
		if set.Collect.SpoolBytesMax > 0 {
			return collectFirst(ctx, s, set, log)
		}
	}
	ch, err := server.Start(ctx, server.Config{
		DSN: set.Storage.DSN, Dir: set.Storage.Dir, Engine: set.Storage.Engine, MemoryBytesMax: uint64(set.Storage.MemoryBytesMax),
	}, log)
	if err != nil {
		return unlessEnded(ctx, err)
	}
	defer func() {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		if err := ch.Stop(stop); err != nil {
			log.Error("clickhouse did not stop", "error", err)
		}
	}()
	log.Info("clickhouse", "kind", ch.Kind(), "version", ch.Version(), "data", set.Storage.Dir)
	db, err := openStorage(ctx, ch.DSN(), set, log)
	if err != nil {
		return unlessEnded(ctx, err)
	}
	defer func() { _ = db.Close() }()
	w := &wiring{set: set, log: log, db: db, sink: db, reg: telemetry.NewRegistry()}
	if r.analyze || r.serve {
		w.owners = new(ownership.Current)
		w.stored = stored.New(db, set.Ownership.config(), w.owners, log, w.reg)
		if err := w.stored.Start(ctx, file); err != nil {
			return unlessEnded(ctx, err)
		}
	}
	return w.run(ctx, s, r)
}

func openStorage(ctx context.Context, dsn string, set *Settings, log *slog.Logger) (*storage.DB, error) {
	const patience = 5 * time.Second // with a ClickHouse that does not answer
	open, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	connect := func() (*storage.DB, error) { return storage.Open(open, dsn, log) }
	if set.Storage.Cluster != "" {
		connect = func() (*storage.DB, error) { return storage.OpenCluster(open, dsn, set.Storage.Cluster, log) }
	}
	db, err := connect()
	if err != nil {
		return nil, err
	}
	keep := storage.Retention{
		Spans: set.Storage.RetentionSpans, Verdicts: set.Storage.RetentionVerdicts, History: set.Storage.RetentionHistory, Baseline: set.Storage.RetentionBaseline,
	}
	if err := db.Migrate(ctx, keep); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	if set.Storage.Traces != "" {
		if err := db.UseTraces(ctx, set.Storage.Traces); err != nil {
			return nil, errors.Join(err, db.Close())
		}
	}
	return db, nil
}

func shardsOf(db *storage.DB) (shards []analyzer.ShardStore) {
	for _, s := range db.Locals() {
		shards = append(shards, s)
	}
	return shards
}

// lateSink is a storage that is connected to when that is possible: a collector that is started while ClickHouse
// is away takes spans into its spool.
type lateSink struct {
	db atomic.Pointer[storage.DB]
	// cluster says that ClickHouse knows which shards there are; else there is one.
	cluster bool
}

type notYet struct{}

func (notYet) Error() string   { return "not connected to the ClickHouse of storage.dsn yet" }
func (notYet) Retryable() bool { return true }

func (l *lateSink) InsertBlock(ctx context.Context, p *native.Packed, again bool) error {
	if db := l.db.Load(); db != nil {
		return db.InsertBlock(ctx, p, again)
	}
	return notYet{}
}

func (l *lateSink) Shards() *native.Shards {
	if db := l.db.Load(); db != nil {
		return db.Shards()
	}
	if l.cluster {
		return nil
	}
	return native.NewShards([]uint32{1})
}

// collectFirst runs a collector, and connects to the storage beside it.
func collectFirst(ctx context.Context, s *streams, set *Settings, log *slog.Logger) error {
	const pause = time.Second
	sink := &lateSink{cluster: set.Storage.Cluster != ""}
	w := &wiring{set: set, log: log, sink: sink, reg: telemetry.NewRegistry()}
	group, ctx := errgroup.WithContext(ctx)
	connect := func() error {
		db, err := openStorage(ctx, set.Storage.DSN, set, log)
		if err == nil {
			sink.db.Store(db)
		}
		return err
	}
	passing := func(err error) bool {
		var failed *storage.Error
		return errors.As(err, &failed) && failed.Retryable()
	}
	defer func() {
		if db := sink.db.Load(); db != nil {
			_ = db.Close()
		}
	}()
	if err := connect(); passing(err) {
		log.Warn("ClickHouse is away: spans go to the spool until it is there", "error", err)
		group.Go(func() error {
			for passing(err) {
				select {
				case <-ctx.Done():
					return nil
				case <-time.After(pause):
				}
				err = connect()
			}
			return unlessEnded(ctx, err)
		})
	} else if err != nil {
		return unlessEnded(ctx, err)
	}
	group.Go(func() error { return w.run(ctx, s, roles{collect: true}) })
	return group.Wait()
}

// wiring is what the roles share.
type wiring struct {
	set    *Settings
	log    *slog.Logger
	db     *storage.DB // nil for a collector alone
	sink   collector.Sink
	owners *ownership.Current // nil for a collector alone, as is the next
	stored *stored.Registry
	reg    *prometheus.Registry
}

// run opens all ports before anything runs, so that a port that is taken is said at once.
func (w *wiring) run(ctx context.Context, s *streams, r roles) error {
	var runs []func(context.Context) error
	var ready []func(context.Context) error
	var where []string
	var states []func() string
	if r.collect {
		c, err := collector.New(w.set.collectorConfig(), w.sink, w.log, w.reg)
		if err != nil {
			return err
		}
		if err := c.Listen(ctx); err != nil {
			return err
		}
		runs, ready = append(runs, c.Run), append(ready, c.Ready)
		where = append(where, "OTLP/gRPC  "+c.GRPCAddr(), "OTLP/HTTP  http://"+c.HTTPAddr()+"/v1/traces")
	}
	var judge *analyzer.Analyzer
	if r.analyze || r.serve {
		var err error
		if judge, err = analyzer.New(w.set.analyzerConfig(), w.db, shardsOf(w.db), w.owners, w.log, w.reg); err != nil {
			return err
		}
		ready = append(ready, w.db.Ping)
		runs, states = append(runs, w.stored.Run), append(states, w.stored.State)
	}
	if r.analyze {
		runs, ready, states = append(runs, judge.Run), append(ready, judge.Ready), append(states, judge.State)
	}
	if r.serve {
		if !r.analyze {
			runs = append(runs, judge.Follow)
		}
		service := query.New(w.db, judge, w.owners, w.stored)
		service.LimitQuestions(w.set.Serve.QuestionsMax)
		var err error
		if service.Links, err = query.ParseLinks(w.set.Serve.PublicURL, w.set.Serve.TraceLink); err != nil {
			return err
		}
		ready = append(ready, service.Ready)
		more, at, err := w.listenQuery(ctx, service, allReady(ready), states)
		if err != nil {
			return err
		}
		runs, where = append(runs, more...), append(where, at...)
	} else {
		address := w.set.Collect.Health
		if r.analyze {
			address = w.set.Analyze.Health
		}
		mux := http.NewServeMux()
		telemetry.Handle(mux, allReady(ready), w.reg, states...)
		run, at, err := w.listenHTTP(ctx, "health", listenAddress(address), mux, nil)
		if err != nil {
			return err
		}
		runs, where = append(runs, run), append(where, "health     http://"+at+"/healthz")
	}
	_, _ = fmt.Fprintf(s.err, "whosehop is ready\n  %s\n", strings.Join(where, "\n  "))
	group, ctx := errgroup.WithContext(ctx)
	for _, run := range runs {
		group.Go(func() error { return run(ctx) })
	}
	return group.Wait()
}

func allReady(checks []func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		for _, check := range checks {
			if err := check(ctx); err != nil {
				return err
			}
		}
		return nil
	}
}

// listenQuery opens the ports of the query role.
func (w *wiring) listenQuery(ctx context.Context, service *query.Service, ready func(context.Context) error, states []func() string) (runs []func(context.Context) error, where []string, err error) {
	q := &w.set.Serve
	var secure *tls.Config
	if q.TLSCert != "" {
		cert, err := tls.LoadX509KeyPair(q.TLSCert, q.TLSKey)
		if err != nil {
			return nil, nil, fmt.Errorf("query.tls-cert: %w", err)
		}
		secure = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
	}
	asked := http.NewServeMux()
	rest.Register(asked, service, w.log)
	compat.Register(asked, query.NewExplorer(w.db, service), w.log)
	web.Register(asked, service, w.log)
	asked.Handle("/mcp", mcp.Handler(service, w.log, version))
	own := http.NewServeMux()
	telemetry.Handle(own, ready, w.reg, states...)
	asked.Handle("GET /metrics", own) // which name owners, and what they broke
	mux := http.NewServeMux()
	mux.Handle("GET /healthz", own)
	mux.Handle("GET /readyz", own)
	mux.Handle("/", requireToken(asked, q.Token))
	run, at, err := w.listenHTTP(ctx, "query.http", listenAddress(q.HTTP), mux, secure)
	if err != nil {
		return nil, nil, err
	}
	scheme := "http://"
	if secure != nil {
		scheme = "https://"
	}
	runs, where = append(runs, run), append(where, "web, REST  "+scheme+at+"/")

	options := []grpc.ServerOption{grpc.MaxRecvMsgSize(1 << 20), grpc.ConnectionTimeout(10 * time.Second), grpc.UnaryInterceptor(authorizeUnary(q.Token)), grpc.StreamInterceptor(boundAndAuthorizeStream(q.Token))}
	if secure != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(secure)))
	}
	api := grpc.NewServer(options...)
	grpcapi.Register(api, service, w.log)
	healthpb.RegisterHealthServer(api, health.NewServer())
	reflection.Register(api)
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", listenAddress(q.GRPC))
	if err != nil {
		return nil, nil, fmt.Errorf("query.grpc: %w", err)
	}
	runs = append(runs, func(ctx context.Context) error {
		stop := context.AfterFunc(ctx, func() {
			timer := time.AfterFunc(5*time.Second, api.Stop)
			defer timer.Stop()
			api.GracefulStop()
		})
		defer stop()
		if err := api.Serve(listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			return fmt.Errorf("serve gRPC: %w", err)
		}
		return nil
	})
	return runs, append(where, "gRPC       "+listener.Addr().String()), nil
}

func (w *wiring) listenHTTP(ctx context.Context, key, address string, handler http.Handler, secure *tls.Config) (func(context.Context) error, string, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", key, err)
	}
	at := listener.Addr().String()
	if secure != nil {
		listener = tls.NewListener(listener, secure)
	}
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: time.Minute, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(w.log.Handler(), slog.LevelDebug),
	}
	return func(ctx context.Context) error {
		stop := context.AfterFunc(ctx, func() {
			drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			if server.Shutdown(drain) != nil {
				_ = server.Close()
			}
		})
		defer stop()
		if err := server.Serve(listener); err != nil && !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve %s: %w", key, err)
		}
		return nil
	}, at, nil
}

// requireToken asks for the token: as a bearer token, or as the password of basic authentication,
// which browsers know how to ask for.
func requireToken(next http.Handler, token string) http.Handler {
	if token == "" {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok {
			_, given, _ = r.BasicAuth()
		}
		if subtle.ConstantTimeCompare([]byte(given), []byte(token)) != 1 {
			w.Header().Set("WWW-Authenticate", `Basic realm="whosehop: the token is the password"`)
			rest.Problem(w, http.StatusUnauthorized, "send the token as `Authorization: Bearer TOKEN`")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// authorizeUnary asks for the token. The service bounds questions.
func authorizeUnary(token string) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, request any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		if err := authorize(ctx, token); err != nil {
			return nil, err
		}
		return next(ctx, request)
	}
}

// boundAndAuthorizeStream asks for it of streams, and gives them a deadline: what is applied to the registry, what is asked about the
// interface itself. Those who watch the health may for as long as they like.
func boundAndAuthorizeStream(token string) grpc.StreamServerInterceptor {
	const applyTimeout = 50 * time.Second
	return func(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
		ctx := stream.Context()
		if err := authorize(ctx, token); err != nil {
			return err
		}
		if info.FullMethod == healthpb.Health_Watch_FullMethodName {
			return next(server, stream)
		}
		ctx, cancel := context.WithTimeout(ctx, applyTimeout)
		defer cancel()
		return next(server, &boundStream{stream, ctx})
	}
}

// boundStream is a stream with a deadline.
type boundStream struct {
	grpc.ServerStream
	ctx context.Context //nolint:containedctx // that is how gRPC hands a stream's on
}

func (s *boundStream) Context() context.Context { return s.ctx }

// RecvMsg ends with the deadline: the stream itself waits for as long as whoever sends keeps it open.
func (s *boundStream) RecvMsg(m any) error {
	got := make(chan error, 1)
	go func() { got <- s.ServerStream.RecvMsg(m) }() // ends with the stream, when the handler returns
	select {
	case err := <-got:
		return err
	case <-s.ctx.Done():
		return status.FromContextError(s.ctx.Err()).Err()
	}
}

func authorize(ctx context.Context, token string) error {
	if token == "" {
		return nil
	}
	md, _ := metadata.FromIncomingContext(ctx)
	given := strings.Join(md.Get("authorization"), "")
	if subtle.ConstantTimeCompare([]byte(given), []byte("Bearer "+token)) != 1 {
		return status.Error(codes.Unauthenticated, "send the token as `authorization: Bearer TOKEN`")
	}
	return nil
}
