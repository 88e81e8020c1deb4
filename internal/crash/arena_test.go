package crash

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/whosehop/whosehop/internal/clickhousetest"
	"github.com/whosehop/whosehop/storage/server"
)

// arena is a whosehop with its ClickHouse, the senders, and what was done to them.
type arena struct {
	t    *testing.T
	rng  *rand.Rand
	book *book
	load *load
	at   addresses
	// whosehop is all roles, or the collector alone.
	whosehop *process
	dsn      func() string // of ClickHouse itself, as it runs now
	data     string        // where that has its tables
	// Of a collector alone: its ClickHouse and the network between the two.
	clickhouse *server.Server
	network    *clickhousetest.Proxy

	killed            int // the process of ClickHouse that was killed last
	kills             int
	killsOfClickHouse int
	done              map[string]int
	timeline          []string
}

func newArena(t *testing.T, seed uint32) *arena {
	t.Helper()
	// Partitions go by the day of ingestion, and a repeated insert is known within its partition alone
	// (see Invariants in docs/ARCHITECTURE.md).
	const longest = 4 * time.Minute
	if y, m, d := time.Now().Add(longest).Date(); d != time.Now().Day() {
		time.Sleep(time.Until(time.Date(y, m, d, 0, 0, 1, 0, time.Local)))
	}
	a := &arena{t: t, rng: rand.New(rand.NewPCG(uint64(seed), 0xc4a5)), book: newBook(seed), at: newAddresses(), done: make(map[string]int)}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("to choose the same chaos again: -crash.seed=%d; what was done:\n%s", seed, strings.Join(a.timeline, "\n"))
		}
	})
	return a
}

func (a *arena) note(what string) {
	a.done[what]++
	a.timeline = append(a.timeline, time.Now().Format(clock)+" "+what)
}

func (a *arena) between(least, most time.Duration) time.Duration {
	return least + time.Duration(a.rng.Int64N(int64(most-least)))
}

const mayWait = 500 * time.Millisecond

func spoolFlags(dir, bytesMax string) []string {
	return []string{"--collector-spool-dir", dir, "--collector-spool-bytes-max", bytesMax, "--collector-spool-after", mayWait.String()}
}

// together runs all roles in one process, which has ClickHouse as its child.
func (a *arena) together() {
	dir := a.t.TempDir()
	a.whosehop = newProcess(a.t, append([]string{
		"up", "--storage-dir", dir, "--storage-memory-bytes-max", "2GiB", "--collector-grpc", a.at.grpc, "--collector-http", a.at.http,
		"--query-http", a.at.health, "--query-grpc", a.at.queryGRPC,
	}, spoolFlags(filepath.Join(dir, "spool"), "256MiB")...)...)
	a.data = filepath.Join(dir, "clickhouse")
	a.dsn = func() string {
		read := func(file string, find *regexp.Regexp) string {
			text, err := os.ReadFile(filepath.Join(dir, file))
			if err != nil {
				a.t.Fatal(err)
			}
			return find.FindStringSubmatch(string(text))[1]
		}
		return fmt.Sprintf("clickhouse://whosehop:%s@127.0.0.1:%s/whosehop",
			read("users.xml", regexp.MustCompile(`<whosehop>\s*<password>([^<]+)</password>`)), read("config.xml", regexp.MustCompile(`<tcp_port>(\d+)</tcp_port>`)))
	}
	a.whosehop.start(a.t)
}

// apart runs a collector alone, and the network between it and ClickHouse.
func (a *arena) apart(flags []string) {
	t := a.t
	var err error
	dir := t.TempDir()
	a.data = filepath.Join(dir, "clickhouse")
	a.clickhouse, err = server.Start(t.Context(), server.Config{Dir: dir, MemoryBytesMax: 2 << 30}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.clickhouse.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	a.dsn = a.clickhouse.DSN
	dsn, err := url.Parse(a.clickhouse.DSN())
	if err != nil {
		t.Fatal(err)
	}
	a.network = clickhousetest.StartProxy(t, a.at.clickhouse, dsn.Host)
	dsn.Host = a.at.clickhouse
	a.whosehop = newProcess(t, append([]string{
		"collector", "--storage-dsn", dsn.String(), "--collector-grpc", a.at.grpc, "--collector-http", a.at.http, "--collector-health", a.at.health,
	}, flags...)...)
	a.whosehop.start(t)
}

// killClickHouse kills a process that was not killed before. Whoever started it starts it again.
func (a *arena) killClickHouse() {
	if a.clickhouse == nil {
		a.killed = a.whosehop.child(a.t)
	} else {
		waitUntil(a.t, 30*time.Second, "a ClickHouse to kill", func() bool { return a.clickhouse.PID() != a.killed })
		a.killed = a.clickhouse.PID()
	}
	m := moments[a.killsOfClickHouse%len(moments)]
	a.killsOfClickHouse++
	a.kills++
	a.note("kill ClickHouse " + m.kill(a.t, a.data, a.killed))
}

// killWhosehop kills it and starts it again, in half of all cases at once.
func (a *arena) killWhosehop() {
	a.kills++
	a.note("kill whosehop " + a.whosehop.args[0])
	a.whosehop.kill()
	if a.rng.IntN(2) == 0 {
		time.Sleep(a.between(0, 2*time.Second))
	}
	a.whosehop.start(a.t)
	a.note("ready again")
}

// progress waits until requests are acknowledged again.
func (a *arena) progress() {
	before := a.book.tally().acknowledged
	waitUntil(a.t, 45*time.Second, "another request to be acknowledged", func() bool { return a.book.tally().acknowledged > before })
}

// healAfter ends what is wrong with the network while the caller does other things; call the result to wait for it.
func (a *arena) healAfter(pause time.Duration) (wait func()) {
	healed := make(chan error, 1)
	time.AfterFunc(pause, func() { healed <- a.network.Heal() })
	return func() {
		if err := <-healed; err != nil {
			a.t.Fatal(err)
		}
		a.note("network heals")
	}
}

// drained waits until the spool is empty.
func (a *arena) drained() {
	waitUntil(a.t, 2*time.Minute, "the spool to be empty", func() bool {
		spooled, ok := metric(a.t, a.at.health, "whosehop_collector_spool_bytes")
		if !ok {
			a.t.Fatal("there is no metric whosehop_collector_spool_bytes")
		}
		return spooled == 0
	})
}

// finish restarts everything, waits until the spool is empty, and audits.
func (a *arena) finish() {
	t := a.t
	a.load.stop()
	a.whosehop.stop(t)
	if a.clickhouse != nil {
		a.killClickHouse()
	}
	a.note("last start")
	a.whosehop.start(t)
	began := time.Now()
	a.drained()
	drained := time.Since(began)
	stored := a.book.audit(t, a.dsn())
	n := a.book.tally()
	t.Logf("seed %d: %d kills %v; requests: %d acknowledged, %d refused (%d for want of room), %d unanswered; spans: %d sent, %d stored; %d starts failed; drained in %s after the last start",
		a.book.seed, a.kills, a.done, n.acknowledged, n.refused, n.exhausted, n.unanswered, a.book.next, stored, a.whosehop.failedStarts, drained.Round(time.Millisecond))
	if a.whosehop.failedStarts > 0 {
		t.Logf("the last start that failed said: %s", a.whosehop.lastFailure)
	}
	if n.acknowledged < 20 {
		t.Errorf("only %d requests were acknowledged", n.acknowledged)
	}
}
