// Command live shows that verdicts come in time while spans come in at a steady rate, and that what they cost does
// not grow with what is stored. It runs the collector and the analyzer, each as a program of its own, on an embedded
// ClickHouse.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/whosehop/whosehop/storage/server"
)

// options are what a run is given.
type options struct {
	whosehop, engine string
	rate, minutes    int
	growth           bool
	stored           []int // spans
	lead             time.Duration
	queries          bool
}

func main() {
	if server.IsChild(os.Args) {
		os.Exit(server.ChildMain(os.Args))
	}
	var o options
	flag.StringVar(&o.whosehop, "whosehop", "../bin/whosehop", "the program")
	flag.StringVar(&o.engine, "engine", "../deploy/engine/node_modules/@chdb/lib-linux-x64-gnu/libchdb.so", "the ClickHouse library")
	flag.IntVar(&o.rate, "rate", 20_000, "spans a second of the live part")
	flag.IntVar(&o.minutes, "minutes", 10, "minutes of the live part; 0 leaves it out")
	flag.BoolVar(&o.growth, "growth", true, "measure what verdicts cost with more and more spans stored")
	stored := flag.String("stored", "1,10,50", "millions of spans that are stored before")
	flag.DurationVar(&o.lead, "lead", leadNeeded, "how long spans come in before it is measured what verdicts cost: with less than that the analyzer's second look has nothing to look at")
	flag.BoolVar(&o.queries, "queries", false, "show what each of the analyzer's queries reads; the log that this needs costs a little itself")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	for _, text := range strings.Split(*stored, ",") {
		millions, err := strconv.ParseFloat(text, 64)
		if err != nil || millions <= 0 {
			log.Fatalf("-stored: %q is no number of millions", text)
		}
		o.stored = append(o.stored, int(millions*1e6))
	}
	slices.Sort(o.stored)
	if o.rate < spansPerTrace || o.minutes < 0 {
		log.Fatalf("-rate is at least %d, -minutes at least 0", spansPerTrace)
	}
	if err := run(ctx, &o); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, o *options) error {
	if o.minutes > 0 {
		r, err := live(ctx, o)
		if err != nil {
			return err
		}
		r.print(os.Stdout)
		if r.missing > 0 {
			return fmt.Errorf("%d failing traces have no verdict", r.missing)
		}
	}
	if !o.growth {
		return nil
	}
	var results []growthResult
	var err error
	for _, stored := range o.stored {
		var r growthResult
		if r, err = growth(ctx, o, stored); err != nil {
			err = fmt.Errorf("with %d spans stored: %w", stored, err)
			break
		}
		results = append(results, r)
	}
	if len(results) > 0 { // those before an error too
		printGrowth(os.Stdout, results)
	}
	return err
}
