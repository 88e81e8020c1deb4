// Engine measures the judgement in memory: from a block of decoded spans to verdicts, on one core.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"slices"
	"time"

	"github.com/whosehop/whosehop/analyzer/baseline"
	"github.com/whosehop/whosehop/analyzer/blame"
	"github.com/whosehop/whosehop/analyzer/trace"
	"github.com/whosehop/whosehop/storage/spans"
)

// goal is what the engine is to reach on one core.
const goal = 1_000_000

func main() {
	total := flag.Int("spans", 1_000_000, "how many spans to judge for each line")
	rounds := flag.Int("rounds", 5, "how often each line is measured; the median is printed")
	profile := flag.String("cpuprofile", "", "write a CPU profile here")
	memory := flag.String("memprofile", "", "write a profile of the allocations here")
	flag.Parse()
	runtime.GOMAXPROCS(1)
	if *profile != "" {
		f, err := os.Create(*profile)
		if err != nil {
			panic(err)
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			panic(err)
		}
		defer pprof.StopCPUProfile()
	}
	if *memory != "" {
		runtime.MemProfileRate = 512
		defer func() {
			f, err := os.Create(*memory)
			if err != nil {
				panic(err)
			}
			if err := pprof.Lookup("allocs").WriteTo(f, 0); err != nil {
				panic(err)
			}
		}()
	}
	fmt.Printf("%-44s %10s %14s %9s %12s\n", "spans a trace, share failing, share slow", "traces", "spans/s", "of goal", "allocs/trace")
	for _, size := range []int{8, 30, 200} {
		for _, mix := range []struct {
			name          string
			failing, slow int // of a hundred
		}{{"2 % failing, 2 % slow", 2, 2}, {"all failing", 100, 0}, {"all slow", 0, 100}} {
			blocks := makeBlocks(*total, size, mix.failing, mix.slow)
			measure(fmt.Sprintf("%d spans, %s", size, mix.name), blocks, *rounds)
		}
	}
	fmt.Printf("\n%-44s %10s %14s\n", "growth: one failing trace", "spans", "ns/span")
	for _, deep := range []bool{false, true} {
		for _, size := range []int{100, 1000, 10_000, 100_000} {
			grow(size, deep, *rounds)
		}
	}
}

var normal = learn()

// learn makes a baseline of healthy traces of all sizes.
func learn() *baseline.Baseline {
	m := newMaker(1)
	for range 200 {
		for _, size := range []int{8, 30, 200} {
			m.add(size, depthOf(size), healthy)
		}
	}
	var b baseline.Baseline
	for _, g := range trace.Group(m.block) {
		b.Learn(trace.Build(m.block, g.Rows, 0))
	}
	return &b
}

func depthOf(size int) int {
	switch {
	case size <= 8:
		return 3
	case size <= 30:
		return 4
	}
	return 6
}

// makeBlocks makes so many spans, in blocks as the analyzer reads them.
func makeBlocks(total, size, failingOf100, slowOf100 int) []*spans.Block {
	const perBlock = 100_000
	var blocks []*spans.Block
	for made, k := 0, 0; made < total; k++ {
		m := newMaker(uint64(k + 2))
		for m.block.Len() < min(perBlock, total) {
			how := healthy
			switch r := m.rng.IntN(100); {
			case r < failingOf100:
				how = failing
			case r < failingOf100+slowOf100:
				how = slow
			}
			m.add(size, depthOf(size), how)
		}
		made += m.block.Len()
		blocks = append(blocks, m.block)
	}
	return blocks
}

func measure(name string, blocks []*spans.Block, rounds int) {
	total, traces := 0, 0
	for _, b := range blocks {
		total += b.Len()
		traces += len(trace.Group(b))
	}
	var times []time.Duration
	var allocs uint64
	for range rounds {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		began := time.Now()
		for _, b := range blocks {
			judge(b)
		}
		times = append(times, time.Since(began))
		runtime.ReadMemStats(&after)
		allocs = after.Mallocs - before.Mallocs
	}
	slices.Sort(times)
	rate := float64(total) / times[len(times)/2].Seconds()
	fmt.Printf("%-44s %10d %14.0f %8.2fx %12.1f\n", name, traces, rate, rate/goal, float64(allocs)/float64(traces))
}

var judged int

func judge(b *spans.Block) {
	judger, builder := blame.NewJudger(blame.Config{Normal: normal, OnlyTrouble: true}), trace.NewBuilder(b)
	for _, g := range trace.Group(b) {
		judged += len(judger.Judge(builder.Build(g.Rows, 0)))
	}
}

// grow measures one trace of so many spans: as wide as it gets, or one call below the other.
func grow(size int, deep bool, rounds int) {
	m := newMaker(3)
	name := "wide"
	if deep {
		name = "deep"
		m.chain(size)
	} else {
		m.add(size, 12, failing)
	}
	var times []time.Duration
	for range rounds {
		runtime.GC()
		began := time.Now()
		judge(m.block)
		times = append(times, time.Since(began))
	}
	slices.Sort(times)
	fmt.Printf("%-44s %10d %14.0f\n", name, m.block.Len(), float64(times[len(times)/2].Nanoseconds())/float64(m.block.Len()))
}
