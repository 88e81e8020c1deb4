package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"
)

// median is NaN of nothing.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	values = slices.Sorted(slices.Values(values))
	return values[len(values)/2]
}

// thirds are the medians of the first and of the last third of the samples.
func (r *liveResult) thirds(of func(*sample) float64) (first, last float64) {
	var values []float64
	for i := range r.samples {
		values = append(values, of(&r.samples[i]))
	}
	n := max(1, len(values)/3)
	return median(values[:min(n, len(values))]), median(values[max(0, len(values)-n):])
}

func (r *liveResult) print(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name, goal string, met bool, format string, values ...any) {
		switch {
		case goal == "":
		case met:
			goal += "\tmet"
		default:
			goal += "\tMISSED"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", name, fmt.Sprintf(format, values...), goal)
	}
	fmt.Fprintf(t, "live\t\tgoal\n")
	line("spans, traces, failing traces", "", true, "%d, %d, %d", r.sent.spans, r.sent.traces, r.sent.failing)
	line("spans/s", "", true, "%.0f", float64(r.sent.spans)/r.sent.took.Seconds())
	line("requests; refused", "", true, "%d; %d", r.sent.requests, r.sent.refused)
	line("ms after it was due: a request sent; answered, at most", "", true, "%d; %d", r.sent.late.Milliseconds(), r.sent.answered.Milliseconds())
	line("first verdicts of failing traces", "", true, "%d", r.verdicts)
	line("  of them without a time", "0", r.unknown == 0, "%d", r.unknown)
	line("traces judged again", "", true, "%d", r.again)
	line("s after last span + quiet: median", "", true, "%.2f", r.median)
	line("  p99", "<= 3", r.p99 <= 3, "%.2f", r.p99)
	line("  max", "", true, "%.2f", r.max)
	line("failing traces without a verdict", "0", r.missing == 0, "%d", r.missing)
	first, last := r.thirds(func(s *sample) float64 { return s.lagSeconds })
	const noise = 0.5
	line("s behind: median of the first third, of the last", "last <= first + 0.5", last <= first+noise, "%.2f, %.2f", first, last)
	first, last = r.thirds(func(s *sample) float64 { return s.backlog })
	line("traces due: the same", "", true, "%.0f, %.0f", first, last)
	for i, name := range processNames {
		first, last = r.thirds(func(s *sample) float64 { return s.mb[i] })
		line(name+" MB: the same; peak", "", true, "%.0f, %.0f; %.0f", first, last, r.peakMB[i])
	}
	for i, name := range processNames {
		line(name+" CPU us a span", "", true, "%.2f", float64(r.cpu[i].Microseconds())/float64(r.sent.spans))
	}
	_ = t.Flush()
}

// each is of a verdict.
func (r *growthResult) each(of func(*growthResult) float64) float64 {
	return of(r) / float64(r.verdicts)
}

// printGrowth prints a line a size.
func printGrowth(w io.Writer, results []growthResult) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\nstored spans\tparts\tverdicts stored\tverdicts\trows selected a verdict\tKB\tgranules to choose from\tspans read\tms in SELECTs\tClickHouse CPU ms\t")
	columns := []func(*growthResult) float64{
		func(r *growthResult) float64 { return r.used.rows },
		func(r *growthResult) float64 { return r.used.bytes / 1000 },
		func(r *growthResult) float64 { return r.used.marks },
		func(r *growthResult) float64 { return r.used.spansRead },
		func(r *growthResult) float64 { return r.used.micros / 1000 },
		func(r *growthResult) float64 { return float64(r.used.engine.Microseconds()) / 1000 },
	}
	for i := range results {
		r := &results[i]
		fmt.Fprintf(t, "%d\t%d\t%d\t%d\t", r.stored, r.parts, r.judged, r.verdicts)
		for _, of := range columns {
			fmt.Fprintf(t, "%.1f\t", r.each(of))
		}
		fmt.Fprintln(t)
	}
	fmt.Fprint(t, "largest / smallest\t\t\t\t")
	for _, of := range columns {
		fmt.Fprintf(t, "%.2f\t", results[len(results)-1].each(of)/results[0].each(of))
	}
	fmt.Fprintln(t)
	_ = t.Flush()
	// Small tables are merged as a whole again and again, and cost more to read: the smallest alone is no measure.
	grown := 1.0
	for i := range results {
		for k := range i {
			grown = max(grown, results[i].each(columns[0])/results[k].each(columns[0]))
		}
	}
	met := "met"
	if grown > 1.2 {
		met = "MISSED"
	}
	fmt.Fprintf(w, "rows selected a verdict, of any size against a smaller one: at most %.2f times (goal <= 1.2: %s)\n", grown, met)
	for i := range results {
		if r := &results[i]; len(r.queries) > 0 {
			r.printQueries(w)
		}
	}
}
