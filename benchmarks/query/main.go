// Command query shows how long the answers take that people and dashboards wait for: every page and every call of the
// interfaces, with a week of a company's traces stored. The traces are made span by span, with what goes wrong in such a
// company, and the program itself judges them.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/whosehop/whosehop/benchmarks/store"
	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/storage/server"
)

// options are what a run is given.
type options struct {
	whosehop, engine, keep, only string
	spans, failing               int
	rounds, calls                int
	again, fillOnly              bool
}

func main() {
	if server.IsChild(os.Args) {
		os.Exit(server.ChildMain(os.Args))
	}
	var o options
	flag.StringVar(&o.whosehop, "whosehop", "../bin/whosehop", "the program")
	flag.StringVar(&o.engine, "engine", "../deploy/engine/node_modules/@chdb/lib-linux-x64-gnu/libchdb.so", "the ClickHouse library")
	flag.StringVar(&o.keep, "keep", "", "folder of the database: kept, and if it is filled, only what came since is added")
	flag.IntVar(&o.spans, "spans", 50_000_000, "spans of the week")
	flag.IntVar(&o.failing, "failing", 500_000, "traces of the week that fail, are degraded or slow")
	flag.IntVar(&o.rounds, "rounds", 3, "how often everything is asked for; medians of the rounds are printed")
	flag.IntVar(&o.calls, "calls", 100, "how often each question is asked in a round")
	flag.StringVar(&o.only, "only", "", "measure only paths that have this in them; the browser is one")
	flag.BoolVar(&o.again, "again", false, "of a database that is filled, keep the spans alone and have them judged again: for another schema, or other rules")
	flag.BoolVar(&o.fillOnly, "fill-only", false, "fill and judge, and measure nothing")
	flag.Parse()
	if o.spans < 100_000 || o.failing < 1 || o.rounds < 1 || o.calls < 1 {
		log.Fatal("-spans is at least 100000, -failing, -rounds and -calls at least 1")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, &o); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, o *options) error {
	dir := o.keep
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "bench-query-"); err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(dir) }()
	}
	w, err := newWeek()
	if err != nil {
		return err
	}
	f, found, err := readMark(dir)
	if err != nil {
		return err
	}
	if !found { // or was not filled to its end
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	s, err := store.Start(ctx, dir, o.engine)
	if err != nil {
		return err
	}
	defer s.Stop(context.WithoutCancel(ctx))
	if o.again && found {
		if err := forget(ctx, s); err != nil {
			return err
		}
		f.Judged = f.From
	}
	if err := migrate(ctx, s); err != nil {
		return err
	}
	owners := filepath.Join(dir, "owners.yaml")
	if err := os.WriteFile(owners, []byte(ownersFile(w.services)), 0o600); err != nil {
		return err
	}
	b := &bench{options: o, store: s, week: w, dir: dir, owners: owners, filled: f}
	if !found {
		if err := b.begin(); err != nil {
			return err
		}
	}
	return b.run(ctx)
}

// forget drops all tables but the spans'.
func forget(ctx context.Context, s *store.Store) error {
	tables, err := s.Tables(ctx, "whosehop")
	if err != nil {
		return err
	}
	for _, table := range tables {
		if table != "otel_traces" {
			if err := s.Run(ctx, "DROP TABLE whosehop."+table+" SYNC"); err != nil {
				return err
			}
		}
	}
	return nil
}

func migrate(ctx context.Context, s *store.Store) error {
	db, err := s.Open(ctx, "whosehop")
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	return db.Migrate(ctx, storage.Retention{})
}

// bench is a run.
type bench struct {
	*options
	store       *store.Store
	week        *week
	dir, owners string
	filled      filled
}

// begin plans a week that ends now.
func (b *bench) begin() error {
	to := time.Now().UTC().Truncate(time.Minute)
	b.filled = filled{From: to.Add(-7 * 24 * time.Hour)}
	b.filled.To, b.filled.Judged = b.filled.From, b.filled.From
	if err := b.week.plan(b.filled.From, to, b.spans, b.failing); err != nil {
		return err
	}
	b.filled.TracesPerSecond, b.filled.HitPerWeight = b.week.TracesPerSecond, b.week.HitPerWeight
	return nil
}

// latest is how much of what has come since may be missing when it is measured.
const latest = 3 * time.Minute

func (b *bench) run(ctx context.Context) error {
	b.week.TracesPerSecond, b.week.HitPerWeight = b.filled.TracesPerSecond, b.filled.HitPerWeight
	for time.Since(b.filled.Judged) > latest { // while it is judged, more comes
		if err := b.week.fill(ctx, b.store, &b.filled, time.Now().UTC().Truncate(time.Minute)); err != nil {
			return err
		}
		if err := b.filled.write(b.dir); err != nil {
			return err
		}
		if err := b.judge(ctx); err != nil {
			return err
		}
		if err := b.filled.write(b.dir); err != nil {
			return err
		}
	}
	if err := b.settle(ctx); err != nil {
		return err
	}
	if err := b.look(ctx); err != nil {
		return err
	}
	if b.fillOnly {
		return nil
	}
	return b.measure(ctx)
}

// pageLoads is how often the page of the largest trace is loaded.
const pageLoads = 20

func (b *bench) measure(ctx context.Context) error {
	server, err := b.startQuery(ctx)
	if err != nil {
		return err
	}
	defer server.child.Stop()
	list := questions()
	c, err := newClient(server, len(list))
	if err != nil {
		return err
	}
	defer func() { _ = c.grpc.Close() }()
	if err := c.complete(ctx, list); err != nil {
		return err
	}
	about, err := b.knowAll(ctx)
	if err != nil {
		return err
	}
	list = slices.DeleteFunc(list, func(q question) bool { return !strings.Contains(q.path, b.only) })
	all, err := c.measure(ctx, list, about, b.rounds, b.calls)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(os.Stdout, "asked over loopback by one client, one question after the other, with other parameters each time, until the whole answer is there; %d calls of each before are not counted; medians of %d rounds:\n", warmUps, b.rounds)
	missed := printTable(os.Stdout, all)
	if !strings.Contains("browser", b.only) {
		return missedBars(missed)
	}
	l, err := browse(ctx, c.base+"/verdicts/"+about.giant, pageLoads)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(os.Stdout, "the page of a verdict of %d spans in headless Chromium, %d loads, each with a new profile, ms from the begin of the navigation:\n", giantSpans, pageLoads)
	for _, x := range []struct {
		what string
		of   []time.Duration
	}{{"first content painted", l.painted}, {"can be read", l.readable}, {"loaded", l.loaded}} {
		_, _ = fmt.Fprintf(os.Stdout, "  %-22s median %s, p99 %s\n", x.what, ms(quantile(x.of, 0.5)), ms(quantile(x.of, 0.99)))
	}
	if quantile(l.readable, 0.99) > barBrowser {
		missed++
	}
	return missedBars(missed)
}

func missedBars(n int) error {
	if n > 0 {
		return fmt.Errorf("%d bars are missed", n)
	}
	return nil
}
