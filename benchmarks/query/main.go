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
	"syscall"
	"time"

	"github.com/whosehop/whosehop/benchmarks/store"
	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/storage/server"
)

// options are what a run is given.
type options struct {
	whosehop, engine, keep string
	spans, failing         int
	rounds                 int
	fillOnly               bool
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
	flag.BoolVar(&o.fillOnly, "fill-only", false, "fill and judge, and measure nothing")
	flag.Parse()
	if o.spans < 100_000 || o.failing < 1 || o.rounds < 1 {
		log.Fatal("-spans is at least 100000, -failing and -rounds at least 1")
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
	if err := b.look(ctx); err != nil {
		return err
	}
	if b.fillOnly {
		return nil
	}
	return fmt.Errorf("nothing is measured yet")
}
