// Command ingest measures what storing spans costs: whosehop's collector beside an OpenTelemetry Collector with
// the ClickHouse exporter, at its defaults and tuned, and beside ready-made blocks. All take the same requests in
// turn, over loopback, into the same engine.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/whosehop/whosehop/benchmarks/load"
	"github.com/whosehop/whosehop/storage/server"
)

// options are what a run is given.
type options struct {
	whosehop, peer, peerConfig, engine string
	spans                              int
}

// measured is one contender's figures in one round. CPU is in microseconds a span.
type measured struct {
	rate                   float64 // stored spans a second, first request to last row
	pipelineCPU, engineCPU float64
	pipelineMB, engineMB   float64 // peak resident memory
	bytes                  float64 // on disk a span, after merging
	ackMedian, ackP99      float64 // milliseconds
	merged                 float64 // how often a row was merged while that was measured
	refused                int
	twice                  int // rows beyond the spans that were sent
}

type shape struct{ spans, inFlight int }

var shapes = map[string]shape{"large": {512, 256}, "small": {8, 2048}}

var known = []string{"whosehop", "peer-default", "peer-tuned", "blocks"}

func main() {
	if server.IsChild(os.Args) {
		os.Exit(server.ChildMain(os.Args))
	}
	var o options
	flag.StringVar(&o.whosehop, "whosehop", "../bin/whosehop", "the program")
	flag.StringVar(&o.peer, "peer", "../.cache/bin/peer-0.161.0", "the OpenTelemetry Collector, built from ./peer")
	flag.StringVar(&o.peerConfig, "peer-config", "peer", "the folder of its configurations")
	flag.StringVar(&o.engine, "engine", "../deploy/engine/node_modules/@chdb/lib-linux-x64-gnu/libchdb.so", "the ClickHouse library")
	flag.IntVar(&o.spans, "spans", 4_000_000, "spans a run")
	rounds := flag.Int("rounds", 3, "rounds; medians are printed")
	which := flag.String("shapes", "large,small", "requests of 512 spans, of 8 spans")
	names := flag.String("contenders", strings.Join(known, ","), "who takes part")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	contenders := strings.Split(*names, ",")
	for _, name := range contenders {
		if !slices.Contains(known, name) {
			log.Fatalf("contender %q is not known", name)
		}
	}
	for _, name := range strings.Split(*which, ",") {
		s, ok := shapes[name]
		if !ok {
			log.Fatalf("shape %q is not known", name)
		}
		payload := load.New(load.Config{SpansPerRequest: s.spans})
		results := make(map[string][]measured)
		for round := range *rounds {
			for i := range contenders { // who begins changes
				contender := contenders[(i+round)%len(contenders)]
				fmt.Fprintf(os.Stderr, "%s, round %d of %d: %s\n", name, round+1, *rounds, contender)
				m, err := run(ctx, &o, contender, payload, s)
				if err != nil {
					log.Fatalf("%s: %v", contender, err)
				}
				results[contender] = append(results[contender], m)
			}
		}
		print(os.Stdout, fmt.Sprintf("%d spans a request, %d requests in flight, %d spans, medians of %d rounds", s.spans, s.inFlight, o.spans, *rounds), contenders, results)
	}
}

func median(all []measured, of func(measured) float64) float64 {
	values := make([]float64, len(all))
	for i := range all {
		values[i] = of(all[i])
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func most(all []measured, of func(measured) float64) float64 {
	worst := 0.0
	for i := range all {
		worst = max(worst, of(all[i]))
	}
	return worst
}

func print(w io.Writer, title string, contenders []string, results map[string][]measured) {
	fmt.Fprintf(w, "\n%s\n", title)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\tspans/s\tpipeline us\tClickHouse us\tmerges a row\tpipeline MB\tClickHouse MB\tB a span\tack p50 ms\tp99 ms\trefused\tstored twice\t")
	whole := make(map[string]float64)
	alone := make(map[string]float64)
	bytes := make(map[string]float64)
	memory := make(map[string]float64)
	for _, name := range contenders {
		all := results[name]
		get := func(of func(measured) float64) float64 { return median(all, of) }
		whole[name] = get(func(m measured) float64 { return m.pipelineCPU + m.engineCPU })
		alone[name] = get(func(m measured) float64 { return m.pipelineCPU })
		bytes[name] = get(func(m measured) float64 { return m.bytes })
		memory[name] = most(all, func(m measured) float64 { return m.pipelineMB })
		fmt.Fprintf(t, "%s\t%.0f\t%.2f\t%.2f\t%.2f\t%.0f\t%.0f\t%.1f\t%.0f\t%.0f\t%.0f\t%.0f\t\n", name,
			get(func(m measured) float64 { return m.rate }), alone[name], get(func(m measured) float64 { return m.engineCPU }),
			get(func(m measured) float64 { return m.merged }), get(func(m measured) float64 { return m.pipelineMB }),
			get(func(m measured) float64 { return m.engineMB }), bytes[name], get(func(m measured) float64 { return m.ackMedian }),
			get(func(m measured) float64 { return m.ackP99 }), get(func(m measured) float64 { return float64(m.refused) }),
			most(all, func(m measured) float64 { return float64(m.twice) }))
	}
	_ = t.Flush()
	ours := whole["whosehop"]
	if ours == 0 {
		return
	}
	for _, c := range []struct {
		text, name string
		ratio      func(string) float64
		goal       string
	}{
		{"stored spans a CPU-second, against the peer's defaults", "peer-default", func(n string) float64 { return whole[n] / ours }, ">= 5"},
		{"stored spans a CPU-second, against the tuned peer", "peer-tuned", func(n string) float64 { return whole[n] / ours }, ">= 3.5"},
		{"the same of the pipeline alone, against the defaults", "peer-default", func(n string) float64 { return alone[n] / alone["whosehop"] }, ">= 10"},
		{"bytes a span, of the table of the peer's defaults", "peer-default", func(n string) float64 { return bytes["whosehop"] / bytes[n] }, "<= 1"},
		{"bytes a span, of the tuned peer's table", "peer-tuned", func(n string) float64 { return bytes["whosehop"] / bytes[n] }, "<= 1"},
		{"stored spans a CPU-second, of ready-made blocks", "blocks", func(n string) float64 { return whole[n] / ours }, ">= 0.7"},
		{"MB of memory of the pipeline, in the worst round", "whosehop", func(n string) float64 { return memory[n] }, "<= 512"},
	} {
		if _, ok := whole[c.name]; ok {
			fmt.Fprintf(w, "  %-58s %s   (goal %s)\n", c.text, strconv.FormatFloat(c.ratio(c.name), 'f', 2, 64), c.goal)
		}
	}
}
