// Command analyzer measures how fast a history is judged: `whosehop analyze` over millions of stored spans. Beside
// it, the same spans are read as the API of a trace store lets one: failing traces are searched, and fetched
// one by one from the OpenTelemetry exporter's table, in the same engine. Nothing is judged there.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/whosehop/whosehop/storage/server"
)

// options are what a run is given.
type options struct {
	whosehop, engine, dir string
	spans, rounds         int
	sample                time.Duration
}

// scenario is the traces of one history.
type scenario struct {
	name                        string
	spansPerTrace, failingEvery int
}

func (s *scenario) String() string {
	return fmt.Sprintf("%d a trace, %d %% fail", s.spansPerTrace, 100/s.failingEvery)
}

var scenarios = []scenario{{"25-2", 25, 50}, {"25-100", 25, 1}, {"200-2", 200, 50}, {"200-100", 200, 1}}

func main() {
	if server.IsChild(os.Args) {
		os.Exit(server.ChildMain(os.Args))
	}
	var names []string
	for _, s := range scenarios {
		names = append(names, s.name)
	}
	var o options
	flag.StringVar(&o.whosehop, "whosehop", "../bin/whosehop", "the program")
	flag.StringVar(&o.engine, "engine", "../deploy/engine/node_modules/@chdb/lib-linux-x64-gnu/libchdb.so", "the ClickHouse library")
	flag.StringVar(&o.dir, "dir", "", "folder of the databases: kept, and not filled again if they are there")
	flag.IntVar(&o.spans, "spans", 20_000_000, "spans a case, and what makes a round of the load whole")
	flag.IntVar(&o.rounds, "rounds", 1, "how often each case is measured; medians are printed")
	flag.DurationVar(&o.sample, "sample", 30*time.Second, "how long traces are fetched by the store's API")
	cases := flag.String("cases", strings.Join(names, ","), "spans a trace, and the percentage of traces that fail")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	chosen := strings.Split(*cases, ",")
	for _, name := range chosen {
		if !slices.Contains(names, name) {
			log.Fatalf("case %q is not known", name)
		}
	}
	if o.spans < 1 || o.rounds < 1 {
		log.Fatal("-spans and -rounds are at least 1")
	}
	var results []result
	var err error
	for i := range scenarios {
		if s := &scenarios[i]; slices.Contains(chosen, s.name) && err == nil {
			var r result
			if r, err = run(ctx, &o, s); err == nil {
				results = append(results, r)
			}
		}
	}
	if len(results) > 0 { // those before an error too
		printTable(os.Stdout, results)
	}
	for i := range results {
		if missing := results[i].missing(); missing > 0 {
			err = errors.Join(err, fmt.Errorf("%s: %.0f failing traces have no verdict", results[i].scenario.name, missing))
		}
	}
	if err != nil {
		log.Fatal(err)
	}
}
