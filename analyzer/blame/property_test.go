package blame

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/whosehop/whosehop/analyzer/baseline"
	"github.com/whosehop/whosehop/analyzer/trace"
	"github.com/whosehop/whosehop/internal/tracescript"
	"github.com/whosehop/whosehop/storage/spans"
	"github.com/whosehop/whosehop/verdict"
)

// system is a handful of services that call each other, drawn at random; traces are runs of it.
type system struct{ operations []operation }

// operation calls only those behind it, so that no run is endless.
type operation struct {
	service, name string
	selfNs        int64
	calls         []call
}

type call struct {
	to     int  // the operation, or -1 for a database
	beside bool // begins with the call before
	queued bool // a message
	tries  int
	needed bool // who calls fails with it
}

func drawSystem(r *rand.Rand) *system {
	s := &system{operations: make([]operation, 3+r.IntN(7))}
	for i := range s.operations {
		o := &s.operations[i]
		o.service, o.name = fmt.Sprint("s", i-r.IntN(2)*min(i, 1)), fmt.Sprint("POST /o", i)
		o.selfNs = 1_000_000 + r.Int64N(20_000_000)
		for range r.IntN(4) {
			c := call{to: -1, beside: r.IntN(3) == 0, queued: r.IntN(8) == 0, tries: 1 + r.IntN(3), needed: r.IntN(3) > 0}
			if i+1 < len(s.operations) && r.IntN(4) > 0 {
				c.to = i + 1 + r.IntN(len(s.operations)-i-1)
			}
			o.calls = append(o.calls, c)
		}
	}
	return s
}

// trouble is how likely things go wrong in a run.
type trouble struct{ fail, slow, late, lost float64 }

// run is one trace in the making.
type run struct {
	*system
	*trouble
	r    *rand.Rand
	list []tracescript.Span
}

const runSpansMost = 150

func (s *system) run(r *rand.Rand, atNs int64, tr trouble) []tracescript.Span {
	u := &run{system: s, trouble: &tr, r: r}
	u.operation(0, spans.SpanID{}, spans.KindServer, atNs)
	for i := range u.list {
		u.list[i].Lost = i > 0 && r.Float64() < tr.lost
	}
	return u.list
}

func (u *run) add(s tracescript.Span, parent spans.SpanID) int {
	s.ID, s.Parent = spans.SpanID{1, 6: byte(len(u.list) >> 8), 7: byte(len(u.list))}, parent
	s.Resource = [][2]string{{"host.name", "host-of-" + s.Service}}
	u.list = append(u.list, s)
	return len(u.list) - 1
}

func (u *run) end(at int, ns int64, code string) {
	u.list[at].EndNs = ns
	u.list[at].Attrs = append(u.list[at].Attrs, [2]string{"http.response.status_code", code})
	if code >= "500" {
		u.list[at].Status = spans.StatusError
	}
}

// about is a duration, give or take a tenth.
func (u *run) about(ns int64) int64 { return int64(float64(ns) * (0.9 + 0.2*u.r.Float64())) }

// operation runs one, and says when it ended and whether well.
func (u *run) operation(i int, parent spans.SpanID, kind spans.Kind, atNs int64) (endNs int64, ok bool) {
	o := &u.operations[i]
	me := u.add(tracescript.Span{Service: o.service, Name: o.name, Kind: kind, StartNs: atNs}, parent)
	id := u.list[me].ID
	selfNs := o.selfNs
	if u.r.Float64() < u.slow {
		selfNs *= 2 + u.r.Int64N(40)
	}
	at, code := atNs+u.about(selfNs/2), "200"
	began := at
	for _, c := range o.calls {
		if len(u.list) > runSpansMost {
			break
		}
		from := at
		if c.beside {
			from = began
		}
		ended, went := u.call(o.service, id, c, from)
		began, at = from, max(at, ended)+100_000
		if !went && c.needed {
			code = "502"
			break
		}
	}
	at += u.about(selfNs / 2)
	if u.r.Float64() < u.fail {
		code = "500"
	}
	u.end(me, at, code)
	return at, code == "200"
}

func (u *run) call(service string, parent spans.SpanID, c call, atNs int64) (endNs int64, ok bool) {
	for try := range c.tries {
		if c.to < 0 {
			endNs, ok = atNs+u.about(3_000_000), u.r.Float64() >= u.fail
			me := u.add(tracescript.Span{Service: service, Name: "SELECT", Kind: spans.KindClient, StartNs: atNs, EndNs: endNs, Attrs: [][2]string{{"db.system.name", "postgresql"}, {"server.address", "db"}}}, parent)
			if !ok {
				u.list[me].Status = spans.StatusError
				u.list[me].Attrs = append(u.list[me].Attrs, [2]string{"db.response.status_code", "57P01"})
			}
		} else {
			endNs, ok = u.remote(service, parent, c, atNs, try)
		}
		if ok || c.queued {
			break
		}
		atNs = endNs + u.about(20_000_000)
	}
	return endNs, ok
}

func (u *run) remote(service string, parent spans.SpanID, c call, atNs int64, try int) (endNs int64, ok bool) {
	to := &u.operations[c.to]
	if c.queued {
		me := u.add(tracescript.Span{
			Service: service, Name: "send " + to.name, Kind: spans.KindProducer, StartNs: atNs, EndNs: atNs + 1_000_000,
			Attrs: [][2]string{{"messaging.system", "kafka"}, {"messaging.destination.name", to.name}},
		}, parent)
		u.operation(c.to, u.list[me].ID, spans.KindConsumer, atNs+u.about(30_000_000))
		return atNs + 1_000_000, true
	}
	me := u.add(tracescript.Span{Service: service, Name: "POST", Kind: spans.KindClient, StartNs: atNs, Attrs: [][2]string{
		{"server.address", to.service}, {"url.full", "http://" + to.service + "/" + to.name}, {"http.request.resend_count", fmt.Sprint(try)},
	}}, parent)
	gapNs := int64(500_000)
	if u.r.Float64() < u.late {
		gapNs *= 2 + u.r.Int64N(400)
	}
	endNs, ok = u.operation(c.to, u.list[me].ID, spans.KindServer, atNs+u.about(gapNs))
	endNs += u.about(500_000)
	code := "200"
	if !ok {
		code = "500"
	}
	u.end(me, endNs, code)
	return endNs, ok
}

const propertySeeds = 300

// propertyEpochNs is the start of a minute: what was seen is kept by the minute.
const propertyEpochNs = int64(1_780_000_020_000_000_000)

// drawn is a system that has run for ten minutes, and a run of it that is on trial, with what went wrong.
func drawn(seed uint64) (history [][]tracescript.Span, trial []tracescript.Span) {
	r := rand.New(rand.NewPCG(seed, 7))
	s := drawSystem(r)
	for k := range int64(25) {
		tr := trouble{}
		if k%5 == 4 {
			tr.fail = 0.05
		}
		history = append(history, s.run(r, propertyEpochNs-(25-k)*24_000_000_000, tr))
	}
	return history, s.run(r, propertyEpochNs, trouble{fail: 0.2 * r.Float64(), slow: 0.15 * r.Float64(), late: 0.1 * r.Float64(), lost: 0.05 * float64(r.IntN(2))})
}

func judgeDrawn(history [][]tracescript.Span, trial []tracescript.Span) ([]verdict.Verdict, Config) {
	cfg := Config{Normal: learn(slices.Clone(history), [][]tracescript.Span{trial})}
	return judgeAll([][]tracescript.Span{trial}, cfg), cfg
}

// checkSums: the shares of a latency verdict sum to what the entry, and what ran behind it, took beyond
// their normal, to the nanosecond.
func checkSums(t testing.TB, f *trace.Forest, cfg Config, verdicts []verdict.Verdict) {
	t.Helper()
	trial := NewJudger(cfg).trial
	trial.start(f)
	for e := range verdicts {
		if verdicts[e].Symptom != verdict.SymptomLatency {
			continue
		}
		entry := f.Entries[e]
		trial.walk(entry)
		want, _ := trial.excessOf(entry)
		got := int64(0)
		for _, i := range trial.order {
			if f.Nodes[i].Kind != spans.KindConsumer || i == entry || trial.outcome[i].Failed() {
				continue
			}
			if waited, ok := trial.queued(i); ok {
				want += waited.excessNs
			}
			ns, _ := trial.excessOf(i)
			want += ns
		}
		for _, s := range verdicts[e].Shares {
			got += s.ExcessNs
			if s.ExcessNs <= 0 {
				t.Fatalf("%s: the share of %s is %d ns", verdicts[e].Summary, s.Site, s.ExcessNs)
			}
		}
		if got != want {
			t.Fatalf("%s: the shares sum to %d ns, the excess is %d", verdicts[e].Summary, got, want)
		}
	}
}

func TestProperties(t *testing.T) {
	symptoms := make(map[verdict.Symptom]int)
	rules := make(map[string]int)
	for seed := range uint64(propertySeeds) {
		history, trial := drawn(seed)
		verdicts, cfg := judgeDrawn(history, trial)
		for i := range verdicts {
			symptoms[verdicts[i].Symptom]++
			for _, s := range verdicts[i].Shares {
				rules[s.Rule]++
			}
		}
		want := asJSON(t, verdicts)
		forest := build(tracescript.Block(trial, trialID(0)))
		checkInvariants(t, forest, verdicts)
		checkSums(t, forest, cfg, verdicts)

		r := rand.New(rand.NewPCG(seed, 8))
		if got := asJSON(t, judgeAll([][]tracescript.Span{delivered(r, trial)}, cfg)); got != want {
			t.Fatalf("seed %d: another verdict in another order\n%s\nwas\n%s", seed, got, want)
		}
		beside := judgeAll([][]tracescript.Span{trial, history[0], history[4]}, cfg)
		if got := asJSON(t, beside[:len(verdicts)]); got != want {
			t.Fatalf("seed %d: another verdict beside other traces\n%s\nwas\n%s", seed, got, want)
		}
		checkLater(t, seed, history, trial, want)
	}
	t.Log(symptoms, rules)
	for _, s := range []verdict.Symptom{verdict.SymptomError, verdict.SymptomDegraded, verdict.SymptomLatency, verdict.SymptomNone} {
		if symptoms[s] < propertySeeds/20 {
			t.Errorf("only %d traces of symptom %s: they do not test much", symptoms[s], s)
		}
	}
}

// checkLater: a week later the same is the same, but for the date. By whole minutes, for what was seen
// of late is kept by the minute.
func checkLater(t *testing.T, seed uint64, history [][]tracescript.Span, trial []tracescript.Span, want string) {
	t.Helper()
	const weekNs = 7 * 24 * 3600 * 1_000_000_000
	moved := make([][]tracescript.Span, len(history))
	for i := range history {
		moved[i] = later(history[i], weekNs)
	}
	verdicts, _ := judgeDrawn(moved, later(trial, weekNs))
	for i := range verdicts {
		verdicts[i].Entry.Start.UnixNs -= weekNs
	}
	if got := asJSON(t, verdicts); got != want {
		t.Fatalf("seed %d: another verdict a week later\n%s\nwas\n%s", seed, got, want)
	}
}

// TestClocksMoveNoBlame: a clock that is off by less than what calls bound it to moves no blame from one
// service to another.
func TestClocksMoveNoBlame(t *testing.T) {
	for seed := range uint64(propertySeeds) {
		history, trial := drawn(seed)
		verdicts, cfg := judgeDrawn(history, trial)
		want := blamed(verdicts)
		for i := range 6 {
			host := fmt.Sprint("host-of-s", i)
			aheadNs := boundOf(cfg.Normal, host)
			if aheadNs == 0 {
				continue
			}
			for _, ns := range []int64{aheadNs, -aheadNs} {
				moved := slices.Clone(trial)
				for k := range moved {
					if moved[k].Resource[0][1] == host {
						moved[k].StartNs += ns
						moved[k].EndNs += ns
					}
				}
				got := blamed(judgeAll([][]tracescript.Span{moved}, cfg))
				for who := range want {
					if math.Abs(want[who]-got[who]) > 0.02 {
						t.Fatalf("seed %d: with the clock of %s %d µs off, %s carries %.3f, not %.3f", seed, host, ns/1000, who, got[who], want[who])
					}
				}
			}
		}
	}
}

// boundOf is how far a host's clock may be off without contradicting what was seen of any other: most of
// the way to the nearest bound.
func boundOf(normal *baseline.Baseline, host string) int64 {
	least := int64(0)
	for i := range 10 {
		o, known := normal.ClockOffset(fmt.Sprint("host-of-s", i), host, propertyEpochNs)
		if !known || o.LowNs == o.HighNs {
			continue
		}
		if near := min(-o.LowNs, o.HighNs) * 8 / 10; near > 0 && (least == 0 || near < least) {
			least = near
		}
	}
	return least
}

// blamed is how much of the blame each place carries, whatever the phase of an edge.
func blamed(verdicts []verdict.Verdict) map[string]float64 {
	shares := make(map[string]float64)
	for i := range verdicts {
		for _, s := range verdicts[i].Shares {
			shares[fmt.Sprint(verdicts[i].Entry.SpanID, s.Site.Kind, s.Site.Service, s.Site.Caller, ">", s.Site.Callee, s.Site.Peer, "/", s.Accountable)] += s.Weight
		}
	}
	return shares
}
