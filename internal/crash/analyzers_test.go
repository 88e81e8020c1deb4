package crash

import (
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"math"
	"net/http"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"go.opentelemetry.io/collector/pdata/pcommon"
)

var analyzerKills = flag.Int("crash.analyzer-kills", 4, "how often an analyzer is killed")

const (
	analyzerQuiet   = time.Second
	analyzerWaitMax = 5 * time.Second
	// secondLook is when all has been looked through again, on a slow machine: what is not judged right by then never
	// will be.
	secondLook = 4 * time.Minute
	// takeOverMax is how long the others may take to judge what one judged that was killed.
	takeOverMax = 30 * time.Second
	// lateAfter is how long after a trace was quiet its verdict is late. On a machine with time it takes half of that.
	lateAfter = 2 * time.Second
	// seriesMost is how many analyzers are killed before the others are given the time to take over.
	seriesMost = 5
)

// fleet is the analyzers on one ClickHouse, with a collector that a shop sends to.
type fleet struct {
	*arena
	shop *shop
	conn driver.Conn
	runs []*judge
	// open are those that were killed, and whose parts may not be judged again yet; took is how long that took of others.
	open []*takeover
	took []time.Duration
	// versions are what the verdicts had when nobody had been killed yet.
	versions map[uint64]uint32
}

// judge is an analyzer's process.
type judge struct {
	*process
	address string // of its health and metrics
}

// takeover is what happens after an analyzer was killed.
type takeover struct {
	index, of int // the part that it judged, of all traces
	killed    time.Time
	took      time.Duration // until it was judged again, 0 while it is not
	late      []failing     // what was late in it at the last look
}

// newFleet has a ClickHouse and a collector, and no analyzer yet. What is normal is held still, at nothing: else a
// verdict would depend on what was known when it was made, and could not be held against a later one.
func newFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{arena: newArena(t, chooseSeed()), versions: make(map[uint64]uint32)}
	f.apart(spoolFlags(t.TempDir(), "256MiB"))
	f.shop = &shop{seed: f.book.seed, begin: time.Now()}
	options, err := clickhouse.ParseDSN(f.dsn())
	if err != nil {
		t.Fatal(err)
	}
	if f.conn, err = clickhouse.Open(options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.conn.Close() })
	if err := f.conn.Exec(t.Context(), "INSERT INTO analyzer_progress (Name, ScannedTo) VALUES ('baseline', '2200-01-01 00:00:00.000')"); err != nil {
		t.Fatal(err)
	}
	return f
}

// judging is how traces are judged, live and afterwards.
func (f *fleet) judging() []string {
	return []string{
		"--storage-dsn", f.dsn(), "--analyzer-quiet", analyzerQuiet.String(), "--analyzer-wait-max", analyzerWaitMax.String(), "--analyzer-scope", "failing",
	}
}

var healthAt = regexp.MustCompile(`health\s+http://(\S+)/healthz`)

// startAnalyzer returns when it is ready; it finds out later which part is its own.
func (f *fleet) startAnalyzer() {
	j := &judge{process: newProcess(f.t, append([]string{"analyzer", "--analyzer-health", "127.0.0.1:0"}, f.judging()...)...)}
	j.start(f.t)
	j.address = healthAt.FindStringSubmatch(j.said.String())[1]
	f.runs = append(f.runs, j)
}

var partOf = regexp.MustCompile(`analyzer, part (\d+) of (\d+):`)

// part is which part of all traces an analyzer judges; of is 0 where it does not say.
func (j *judge) part() (index, of int) {
	response, err := http.Get("http://" + j.address + "/readyz")
	if err != nil {
		return 0, 0
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	found := partOf.FindSubmatch(text)
	if err != nil || found == nil {
		return 0, 0
	}
	index, _ = strconv.Atoi(string(found[1]))
	of, _ = strconv.Atoi(string(found[2]))
	return index - 1, of
}

// divided says whether each analyzer knows of all others that run, and of no other; they are in the order of their
// parts then.
func (f *fleet) divided() bool {
	order := make([]*judge, len(f.runs))
	for _, j := range f.runs {
		index, of := j.part()
		if of != len(f.runs) || order[index] != nil {
			return false
		}
		order[index] = j
	}
	f.runs = order
	return true
}

func (f *fleet) judged() (counts []int) {
	for _, j := range f.runs {
		n, ok := metric(f.t, j.address, "whosehop_analyzer_traces_judged_total")
		if !ok {
			f.t.Fatal("there is no metric whosehop_analyzer_traces_judged_total")
		}
		counts = append(counts, int(n))
	}
	return counts
}

// failing is a trace with a failing span.
type failing struct {
	id             string
	hash           uint64        // by which the traces are divided
	stored, judged uint64        // spans
	waited         time.Duration // since it was quiet
}

func (u failing) String() string {
	return fmt.Sprintf("trace %s, quiet since %s, is judged on %d of %d spans", u.id, u.waited, u.judged, u.stored)
}

// failing are those that are not judged on all their spans, and all that got spans within a time.
func (f *fleet) failing(within time.Duration) (list []failing) {
	rows, err := f.conn.Query(f.t.Context(), `SELECT s.TraceId, bitShiftRight(cityHash64(s.TraceId), 32), stored, v.SpanRows, toUnixTimestamp64Milli(now64(3)) - last AS since
		FROM (SELECT TraceId, count() AS stored, toUnixTimestamp64Milli(max(IngestTime)) AS last FROM otel_traces GROUP BY TraceId HAVING max(Suspect)) AS s
		LEFT JOIN (SELECT TraceId, SpanRows FROM verdicts FINAL) AS v ON s.TraceId = v.TraceId WHERE stored != v.SpanRows OR since < ?`, within.Milliseconds())
	if err != nil {
		f.t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var u failing
		var sinceMs int64
		if err := rows.Scan(&u.id, &u.hash, &u.stored, &u.judged, &sinceMs); err != nil {
			f.t.Fatal(err)
		}
		u.waited = time.Duration(sinceMs)*time.Millisecond - analyzerQuiet
		list = append(list, u)
	}
	if err := rows.Err(); err != nil {
		f.t.Fatal(err)
	}
	return list
}

// watch finds out which parts are judged again: of the traces in them that were quiet since the kill, nearly all have
// their verdict. Spans that took long to become visible are found by the second look alone, whoever judges the part.
func (f *fleet) watch() (all bool) {
	at := time.Now()
	list := f.failing(secondLook)
	all = true
	for _, o := range f.open {
		since := at.Sub(o.killed)
		n := 0
		o.late = o.late[:0]
		for _, u := range list {
			if u.waited > lateAfter && u.waited < since && u.hash%uint64(o.of) == uint64(o.index) {
				n++
				if u.judged != u.stored {
					o.late = append(o.late, u)
				}
			}
		}
		const enough = 10 // to say anything
		switch {
		case n < enough || 5*len(o.late) > n:
			all, o.took = false, 0
		case o.took == 0: // it may be lost again, to one that was killed and is not missed yet
			o.took = since
		}
	}
	return all
}

// wait lets time pass, and watches what is being taken over.
func (f *fleet) wait(pause time.Duration) {
	for until := time.Now().Add(pause); ; {
		_ = f.watch()
		left := time.Until(until)
		if left <= 0 {
			return
		}
		time.Sleep(min(left, 300*time.Millisecond))
	}
}

// killAnalyzer kills one, whichever, and starts another.
func (f *fleet) killAnalyzer() {
	i := f.rng.IntN(len(f.runs))
	j := f.runs[i]
	index, of := j.part()
	f.note(fmt.Sprintf("kill analyzer %s, part %d of %d", j.address, index, of))
	j.kill()
	if of > 0 { // it may not have known its part yet
		f.open = append(f.open, &takeover{index: index, of: of, killed: time.Now()})
	}
	f.kills++
	f.runs = slices.Delete(f.runs, i, i+1)
	f.startAnalyzer()
}

// takenOver waits until all parts are judged again.
func (f *fleet) takenOver(last time.Time) {
	late := false
	for all := false; !all; time.Sleep(300 * time.Millisecond) {
		all = f.divided() && f.watch()
		took := time.Since(last).Round(time.Second)
		switch {
		case took > takeOverMax+secondLook:
			f.t.Fatalf("%s after the last kill, not all parts are judged again", took)
		case took > takeOverMax && !all && !late:
			late = true
			f.t.Errorf("%s after the last kill, not all parts are judged again", took)
			for _, o := range f.open {
				f.t.Errorf("%d traces are late that were in part %d of %d, such as %v", len(o.late), o.index, o.of, o.late[:min(len(o.late), shown)])
			}
		}
	}
	for _, o := range f.open {
		f.took = append(f.took, o.took.Round(100*time.Millisecond))
	}
	f.open = nil
}

// settle waits until all is judged, and says how long that took.
func (f *fleet) settle() time.Duration {
	began := time.Now()
	waitUntil(f.t, secondLook, "all failing traces to be judged on all their spans", func() bool { return len(f.failing(0)) == 0 })
	return time.Since(began)
}

// verdictRow is the current verdict of a trace.
type verdictRow struct {
	hash    uint64 // by which the traces are divided
	version uint32
	rows    uint64
	body    string // without the version
}

var versionIn = regexp.MustCompile(`"version":\d+,`)

// verdicts are the current ones, by the number of the trace.
func (f *fleet) verdicts() map[uint64]verdictRow {
	rows, err := f.conn.Query(f.t.Context(), "SELECT TraceId, bitShiftRight(cityHash64(TraceId), 32), Version, SpanRows, Entries.Body FROM verdicts FINAL")
	if err != nil {
		f.t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	all, odd := make(map[uint64]verdictRow), 0
	for rows.Next() {
		var id string
		var bodies []string
		var v verdictRow
		if err := rows.Scan(&id, &v.hash, &v.version, &v.rows, &bodies); err != nil {
			f.t.Fatal(err)
		}
		n, ok := f.numberOf(id)
		if !ok {
			f.t.Errorf("there is a verdict of trace %s, which was never sent", id)
			continue
		}
		if _, twice := all[n]; twice {
			f.t.Errorf("trace %s has two current verdicts", id)
		}
		if len(bodies) != 1 || !versionIn.MatchString(bodies[0]) {
			if odd++; odd <= shown {
				f.t.Errorf("trace %s has %d verdicts of entries, want 1: %q", id, len(bodies), bodies)
			}
		}
		v.body = versionIn.ReplaceAllString(strings.Join(bodies, "\n"), "")
		all[n] = v
	}
	if err := rows.Err(); err != nil {
		f.t.Fatal(err)
	}
	if odd > shown {
		f.t.Errorf("and %d more traces like that", odd-shown)
	}
	return all
}

func (f *fleet) numberOf(id string) (n uint64, ok bool) {
	var bytes pcommon.TraceID
	if len(id) != 2*len(bytes) {
		return 0, false
	}
	if _, err := hex.Decode(bytes[:], []byte(id)); err != nil {
		return 0, false
	}
	return f.shop.numberOf(bytes)
}

// audit holds what is stored and judged against what was sent.
func (f *fleet) audit() (verdicts map[uint64]verdictRow) {
	t := f.t
	stored := make([]uint64, f.shop.next)
	rows, err := f.conn.Query(t.Context(), "SELECT TraceId, count() FROM otel_traces GROUP BY TraceId")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var id string
		var count uint64
		if err := rows.Scan(&id, &count); err != nil {
			t.Fatal(err)
		}
		n, ok := f.numberOf(id)
		if !ok {
			t.Fatalf("trace %s is stored, and was never sent", id)
		}
		stored[n] = count
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	verdicts = f.verdicts()
	faults := 0
	fault := func(format string, args ...any) {
		if faults++; faults <= shown {
			t.Errorf(format, args...)
		}
	}
	failed := 0
	for n := range f.shop.next {
		v, judged := verdicts[n]
		fails := f.shop.failureOf(n) != nothingFailed
		if fails {
			failed++
		}
		switch {
		case stored[n] != uint64(f.shop.spansOf(n)):
			fault("of trace %s %d spans are stored, %d were sent", f.shop.traceID(n), stored[n], f.shop.spansOf(n))
		case fails && !judged:
			fault("trace %s failed, and has no verdict", f.shop.traceID(n))
		case judged && !fails:
			fault("trace %s has a verdict, and did not fail: %s", f.shop.traceID(n), v.body)
		case judged && v.rows != stored[n]:
			fault("version %d of the verdict of trace %s is on %d of %d spans", v.version, f.shop.traceID(n), v.rows, stored[n])
		}
	}
	if faults > shown {
		t.Errorf("and %d more", faults-shown)
	}
	var learnt uint64
	if err := f.conn.QueryRow(t.Context(), "SELECT count() FROM baseline").Scan(&learnt); err != nil || learnt > 0 {
		t.Errorf("%d cells were learnt (%v): verdicts may depend on when they were made", learnt, err)
	}
	if failed < 100 {
		t.Errorf("only %d of %d traces failed: that is too few to say anything", failed, f.shop.next)
	}
	return verdicts
}

// judgeAgain judges all, undisturbed and by one process, and holds the verdicts against those before.
func (f *fleet) judgeAgain(before map[uint64]verdictRow) {
	t := f.t
	began := time.Now()
	text, err := exec.Command(program, append([]string{
		"analyze", "--from", f.shop.begin.Add(-time.Minute).UTC().Format(time.RFC3339), "--to", began.Add(time.Hour).UTC().Format(time.RFC3339),
	}, f.judging()...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("whosehop analyze: %v\n%s", err, text)
	}
	after := f.verdicts()
	others, missed := 0, 0
	for n, was := range before {
		now := after[n]
		switch {
		case now.version != was.version+1:
			missed++
		case now.rows != was.rows || now.body != was.body:
			if others++; others <= shown {
				t.Errorf("trace %s, judged on %d spans in version %d:\n%s\njudged undisturbed, on %d spans:\n%s", f.shop.traceID(n), was.rows, was.version, was.body, now.rows, now.body)
			}
		}
	}
	if others > 0 || missed > 0 || len(after) != len(before) {
		t.Errorf("of %d verdicts, %d are others when they are made undisturbed; %d were not made anew, and there are %d then", len(before), others, missed, len(after))
	}
	t.Logf("judged again in %s: %s", time.Since(began).Round(time.Millisecond), strings.ReplaceAll(strings.TrimSpace(string(text)), "\n", " | "))
}

// share has analyzers judge while nobody is killed: one part each, and nothing twice.
func (f *fleet) share(analyzers int) {
	t := f.t
	const sends = 4 * time.Second
	for len(f.runs) < analyzers {
		f.startAnalyzer()
	}
	waitUntil(t, takeOverMax, fmt.Sprintf("%d analyzers to divide the traces", analyzers), f.divided)
	begins, before := f.shop.next, f.judged()
	l := startShop(t, f.shop, f.at)
	time.Sleep(sends)
	l.stop(t)
	settled := f.settle()
	counts := f.judged()
	// Each version is one judgement, of the analyzer whose part the trace is in.
	want, sum := make([]int, analyzers), 0
	for n, v := range f.verdicts() {
		if n >= begins {
			want[v.hash*uint64(analyzers)>>32] += int(v.version)
			sum += int(v.version)
		} else if v.version > f.versions[n] {
			t.Errorf("trace %s was judged again when another analyzer had come: version %d", f.shop.traceID(n), v.version)
		}
		f.versions[n] = v.version
	}
	even := float64(sum) / float64(analyzers)
	byChance := 4 * math.Sqrt(even*(1-1/float64(analyzers)))
	for i := range counts {
		counts[i] -= before[i]
		if off := max(counts[i]-want[i], want[i]-counts[i]); off > 2+want[i]/50 {
			t.Errorf("%d analyzers: the one with part %d made %d judgements, its part needed %d", analyzers, i, counts[i], want[i])
		}
		if off := math.Abs(float64(counts[i]) - even); off > 0.1*even+byChance {
			t.Errorf("%d analyzers: the one with part %d made %d of %d judgements", analyzers, i, counts[i], sum)
		}
	}
	if sum < 100 {
		t.Errorf("only %d judgements were made: that is too few to say anything", sum)
	}
	t.Logf("%d analyzers: %.0f spans/s, %d traces; judgements %v, needed %v; all judged %s after the last span", analyzers,
		float64(l.sent)/l.took.Seconds(), f.shop.next-begins, counts, want, settled.Round(100*time.Millisecond))
}

// chaos kills analyzers under load.
func (f *fleet) chaos(kills int) {
	begins := f.shop.next
	l := startShop(f.t, f.shop, f.at)
	var sinceLast []time.Duration
	for kills > 0 {
		last := time.Now()
		for range min(kills, seriesMost) {
			f.wait(f.between(time.Second, 4*time.Second))
			last = time.Now()
			f.killAnalyzer()
			kills--
		}
		f.takenOver(last)
		sinceLast = append(sinceLast, time.Since(last).Round(100*time.Millisecond))
	}
	l.stop(f.t)
	settled := f.settle()
	var leftOver uint64
	if err := f.conn.QueryRow(f.t.Context(), "SELECT count() FROM verdicts FINAL WHERE JudgedAt > LastIngest + 60").Scan(&leftOver); err != nil {
		f.t.Fatal(err)
	}
	slices.Sort(f.took)
	f.t.Logf("seed %d: %d kills; %.0f spans/s, %d traces; a killed one's part was judged again %v after the kill, all parts %v after the last kill of a series; all judged %s after the last span; %d verdicts came more than a minute late",
		f.shop.seed, f.kills, float64(l.sent)/l.took.Seconds(), f.shop.next-begins, f.took, sinceLast, settled.Round(100*time.Millisecond), leftOver)
}

// TestAnalyzers: two analyzers, and then four, judge one part each. Then they are killed under load; others take
// over, and whatever happened, the verdicts are those of an undisturbed judgement.
func TestAnalyzers(t *testing.T) {
	f := newFleet(t)
	f.share(2)
	f.share(4)
	f.chaos(*analyzerKills)
	for _, j := range f.runs {
		j.stop(t)
	}
	f.judgeAgain(f.audit())
}
