// Owners measures the ownership registry: how long it takes to compile, what it holds, and how many questions it answers in a
// second on one core, beside a scan over all records that gives the same answers.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"slices"
	"syscall"
	"time"

	"github.com/whosehop/whosehop/ownership"
)

// goal is how many questions are to be answered in a second on one core.
const goal = 1_000_000

func main() {
	services := flag.Int("services", 10_000, "how many services")
	rules := flag.Int("rules", 50_000, "how many rules beside them")
	questions := flag.Int("questions", 200_000, "how many questions of each kind")
	rounds := flag.Int("rounds", 5, "how often each line is measured; the median is printed")
	profile := flag.String("cpuprofile", "", "write a CPU profile of the answers here")
	flag.Parse()
	runtime.GOMAXPROCS(1)

	m := newMaker(*services)
	records := m.records(*rules)
	began := heap()
	var compiled []time.Duration
	var registry *ownership.Registry
	for range *rounds {
		runtime.GC()
		start := cpu()
		registry = ownership.Compile(records, settings)
		compiled = append(compiled, cpu()-start)
	}
	fmt.Printf("%d services and %d rules\n", *services, *rules)
	fmt.Printf("compiled in %.2f s, %d MB beside the records (%d MB), %d conflicts\n\n",
		median(compiled).Seconds(), (heap()-began)>>20, m.heldBytes>>20, len(registry.Conflicts()))

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
	fmt.Printf("%-34s %14s %9s %14s %10s\n", "questions", "answers/s", "of goal", "a scan's", "ratio")
	kinds := m.kinds()
	line := func(name string, kinds ...kind) {
		asked := list(kinds, *questions)
		rate, slow := measure(registry, asked, *rounds), scan(registry, records, asked)
		fmt.Printf("%-34s %14.0f %8.2fx %14.0f %9.0fx\n", name, rate, rate/goal, slow, rate/slow)
	}
	for _, k := range kinds {
		line(k.name, k)
	}
	line("all of them in turn", kinds...)
	runtime.KeepAlive(registry)
}

func median(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)/2]
}

func heap() int64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// cpu is the time that this program has had on a core: others may run beside it.
func cpu() time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		panic(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// measure answers the questions, and says how many in a second.
func measure(r *ownership.Registry, list []ownership.Question, rounds int) float64 {
	var times []time.Duration
	for range rounds {
		start := cpu()
		for i := range list {
			r.Resolve(&list[i])
		}
		times = append(times, cpu()-start)
	}
	return float64(len(list)) / median(times).Seconds()
}
