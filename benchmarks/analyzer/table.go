package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"text/tabwriter"
)

// median is of what is known; NaN of nothing.
func median(all []measured, of func(*measured) float64) float64 {
	var values []float64
	for i := range all {
		if v := of(&all[i]); !math.IsNaN(v) {
			values = append(values, v)
		}
	}
	if len(values) == 0 {
		return math.NaN()
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func most(all []measured, of func(*measured) float64) float64 {
	worst := 0.0
	for i := range all {
		worst = max(worst, of(&all[i]))
	}
	return worst
}

// missing is how many failing traces have no verdict, in the worst round.
func (r *result) missing() float64 {
	return most(r.rounds, func(m *measured) float64 { return float64(m.missing) })
}

// rate is the stored spans a second that were dealt with: judged, or seen to be healthy.
func (r *result) rate() float64 {
	return float64(r.stored.spans) / median(r.rounds, func(m *measured) float64 { return m.wall.Seconds() })
}

// apiRate is the same by the store's API: what a fetched trace stands for is its part of all failing ones.
func (r *result) apiRate() float64 {
	return median(r.rounds, func(m *measured) float64 {
		return float64(m.api.traces) / float64(r.stored.failing) * float64(r.stored.spans) / m.api.wall.Seconds()
	})
}

// printTable prints a line a figure, with a column a case and the goal beside.
func printTable(w io.Writer, results []result) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "spans:\t")
	for i := range results {
		fmt.Fprintf(t, "%s\t", results[i].scenario)
	}
	fmt.Fprintf(t, "goal\t\n")
	line := func(name string, decimals int, goal string, of func(*result) float64) {
		fmt.Fprintf(t, "%s\t", name)
		for i := range results {
			text := "-"
			if v := of(&results[i]); !math.IsNaN(v) {
				text = strconv.FormatFloat(v, 'f', decimals, 64)
			}
			fmt.Fprintf(t, "%s\t", text)
		}
		fmt.Fprintf(t, "%s\t\n", goal)
	}
	of := func(f func(*measured) float64) func(*result) float64 {
		return func(r *result) float64 { return median(r.rounds, f) }
	}
	said := func(part string) func(*result) float64 {
		return of(func(m *measured) float64 { return m.said.seconds(part) })
	}
	line("stored spans", 0, "", func(r *result) float64 { return float64(r.stored.spans) })
	line("traces", 0, "", func(r *result) float64 { return float64(r.stored.traces) })
	line("failing traces", 0, "", func(r *result) float64 { return float64(r.stored.failing) })
	line("seconds", 2, "", of(func(m *measured) float64 { return m.wall.Seconds() }))
	line("stored spans/s", 0, ">= 300000 where all fail", (*result).rate)
	line("seconds for 20 million", 1, "<= 20 where 2 % fail", func(r *result) float64 { return 20e6 / r.rate() })
	line("whosehop CPU s", 2, "", of(func(m *measured) float64 { return m.cpu.Seconds() }))
	line("ClickHouse CPU s", 2, "", of(func(m *measured) float64 { return m.engineCPU.Seconds() }))
	line("whosehop MB, worst", 0, "<= 512", func(r *result) float64 { return most(r.rounds, func(m *measured) float64 { return m.peakMB }) })
	line("said: spans seen", 0, "", of(func(m *measured) float64 { return known(m.said.Spans) }))
	line("said: traces judged", 0, "", of(func(m *measured) float64 { return known(m.said.Traces) }))
	line("said: verdicts", 0, "", of(func(m *measured) float64 { return known(m.said.Verdicts) }))
	line("said: seconds", 2, "", of(func(m *measured) float64 { return known(m.said.Seconds) }))
	for _, part := range parts {
		line("said: workers' s in "+part, 2, "", said(part))
	}
	line("stored verdicts", 0, "", of(func(m *measured) float64 { return float64(m.verdicts) }))
	line("failing without, worst", 0, "0", (*result).missing)
	line("by API: fetched traces", 0, "", of(func(m *measured) float64 { return float64(m.api.traces) }))
	line("by API: fetched spans/s", 0, "", of(func(m *measured) float64 { return float64(m.api.spans) / m.api.wall.Seconds() }))
	line("by API: stored spans/s", 0, "", (*result).apiRate)
	line("whosehop, times that", 1, "", func(r *result) float64 { return r.rate() / r.apiRate() })
	_ = t.Flush()
}
