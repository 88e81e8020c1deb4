package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// quantile is of what took long, 1 is the longest.
func quantile(of []time.Duration, q float64) time.Duration {
	if len(of) == 0 {
		return 0
	}
	slices.Sort(of)
	return of[min(len(of)-1, int(q*float64(len(of))))]
}

// medianOf is the median over the rounds of one of their figures.
func (t *times) medianOf(q float64) time.Duration {
	var all []time.Duration
	for _, round := range t.rounds {
		all = append(all, quantile(round, q))
	}
	return quantile(all, 0.5)
}

func (t *times) ok() bool { return t.failed == nil && t.medianOf(0.99) <= t.question.bar }

func ms(d time.Duration) string { return fmt.Sprintf("%.1f", d.Seconds()*1e3) }

// printTable prints a line a question, and says how many missed their bar.
func printTable(w io.Writer, all []times) (missed int) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "path\t\tcalls\tp50 ms\tp99 ms\tmax ms\tbar\tok")
	for i := range all {
		x := &all[i]
		calls, longest := 0, time.Duration(0)
		for _, round := range x.rounds {
			calls += len(round)
			longest = max(longest, quantile(round, 1))
		}
		ok := "yes"
		if !x.ok() {
			ok = "NO"
			missed++
		}
		_, _ = fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%s\t%s\t%.0f\t%s\n", x.question.path, x.question.what, calls, ms(x.medianOf(0.5)), ms(x.medianOf(0.99)), ms(longest), x.question.bar.Seconds()*1e3, ok)
	}
	_ = t.Flush()
	for i := range all {
		if err := all[i].failed; err != nil {
			_, _ = fmt.Fprintf(w, "%s %s: %v\n", all[i].question.path, all[i].question.what, err)
		}
	}
	return missed
}
