package storage_test

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/whosehop/whosehop/internal/clickhousetest"
	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/storage/spans"
	"github.com/whosehop/whosehop/verdict"
)

func TestBlameAddsUp(t *testing.T) { blameAddsUp(t, clickhousetest.DB(t), 8) }

func TestBlameOfAllShardsAddsUp(t *testing.T) {
	db, _, _ := openCluster(t)
	blameAddsUp(t, db, 3)
}

// blameAddsUp holds what is summed up against a recount from scratch of what the last verdict of each trace says, while traces are
// judged again, for other owners, with other entries, late, and hours are summed up now and then.
func blameAddsUp(t *testing.T, db *storage.DB, rounds int) {
	t.Helper()
	db.SetJudgedSlack(0)
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 7))
	from := time.Date(2026, 11, 18, 0, 0, 0, 0, time.UTC)
	const hours, perRound = 30, 60
	now := make(map[spans.TraceID]storage.JudgedTrace) // what was judged last
	made := 0
	rollUp := func(shard *storage.DB) {
		n, err := shard.RollUp(t.Context(), time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		made += n
	}
	for round := range rounds {
		batches := make(map[int][]*storage.JudgedTrace)
		for range perRound {
			j := randomJudged(r, from, hours, now)
			now[j.TraceID] = j
			shard := db.Shards().Of(j.TraceID)
			batches[shard] = append(batches[shard], &j)
		}
		for shard, batch := range batches {
			if err := db.Locals()[shard].WriteJudged(t.Context(), slices.Values(batch)); err != nil {
				t.Fatal(err)
			}
		}
		for _, shard := range db.Locals() {
			if r.IntN(3) == 0 {
				rollUp(shard)
			}
		}
		f := storage.BlameFilter{From: from.Add(time.Duration(r.IntN(hours)) * time.Hour), To: from.Add(hours * time.Hour)}
		if r.IntN(4) == 0 {
			f.To = f.From.Add(time.Hour + time.Duration(r.IntN(100))*time.Minute)
		}
		f.From, f.To = db.Align(f.From, f.To)
		for _, f.Suffered = range []bool{false, true} {
			for _, f.Owner = range []string{"", "team-1"} {
				for _, step := range []time.Duration{0, time.Hour} {
					got := askBlame(t, db, f, step)
					if diff := cmp.Diff(recountBlame(now, &f, step), got); diff != "" {
						t.Fatalf("seed %d, round %d, %+v by %s (-recount +got):\n%s", seed, round, f, step, diff)
					}
				}
			}
		}
	}
	for _, shard := range db.Locals() {
		rollUp(shard)
	}
	if made == 0 {
		t.Error("nothing was summed up")
	}
	all := storage.BlameFilter{From: from.Add(-time.Hour), To: from.Add((hours + 1) * time.Hour)}
	if diff := cmp.Diff(recountBlame(now, &all, 0), askBlame(t, db, all, 0)); diff != "" {
		t.Errorf("seed %d, all summed up (-recount +got):\n%s", seed, diff)
	}
}

// TestShortWindowOfLongAgo: verdicts have expired, and what was made of them has not.
func TestShortWindowOfLongAgo(t *testing.T) {
	const day = 24 * time.Hour
	for name, c := range map[string]struct{ ago, kept time.Duration }{
		"kept for ever":      {100 * day, 0},
		"kept for 90 days":   {100 * day, 90 * day},
		"kept for two days":  {3 * day, 2 * day},
		"kept for two hours": {4 * time.Hour, 2 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) { shortWindowOfLongAgo(t, c.ago, c.kept) })
	}
}

func shortWindowOfLongAgo(t *testing.T, ago, kept time.Duration) {
	dsn := clickhousetest.DSN(t)
	db := clickhousetest.Open(t, dsn)
	db.SetJudgedSlack(0)
	at := time.Now().UTC().Truncate(time.Hour).Add(-ago + 10*time.Minute)
	j := storage.JudgedTrace{SettledTrace: storage.SettledTrace{TraceID: spans.TraceID{1}, Version: 1, FirstIngest: at, LastIngest: at}}
	j.Verdicts = []verdict.Verdict{{
		Symptom: verdict.SymptomError, Entry: verdict.Entry{Service: "web", Start: verdict.Time{UnixNs: at.UnixNano()}},
		Shares: []verdict.Share{{Site: verdict.Site{Kind: verdict.SiteService, Service: "s"}, Owner: "team-1", Weight: 1}},
	}}
	if err := db.WriteJudged(t.Context(), slices.Values([]*storage.JudgedTrace{&j})); err != nil {
		t.Fatal(err)
	}
	if made, err := db.RollUp(t.Context(), time.Time{}); made != 1 || err != nil {
		t.Fatal(made, err)
	}
	if err := db.Migrate(t.Context(), storage.Retention{Verdicts: kept}); err != nil {
		t.Fatal(err)
	}
	if err := rawConn(t, dsn).Exec(t.Context(), "TRUNCATE TABLE verdicts"); err != nil {
		t.Fatal(err)
	}
	var f storage.BlameFilter
	f.From, f.To = db.Align(at.Add(-time.Minute), at.Add(time.Minute))
	want := map[string]sum{"team-1/s/": {Amount: 1e6, Stored: 1e6}}
	if diff := cmp.Diff(want, askBlame(t, db, f, 0)); diff != "" {
		t.Errorf("%+v (-want +got):\n%s", f, diff)
	}
}

// TestWindowsAreAligned: short ones are as they were asked for, as long as all verdicts of them are there.
func TestWindowsAreAligned(t *testing.T) {
	const day = 24 * time.Hour
	for _, c := range []struct {
		ago, window, kept time.Duration // ago is when it began
		wider             bool
	}{
		{time.Hour, time.Hour, 0, false},
		{7 * time.Hour, 7 * time.Hour, 0, true},
		{29 * day, time.Hour, 0, false},
		{31 * day, time.Hour, 0, true},
		{29 * day, time.Hour, 90 * day, false},
		{31 * day, time.Hour, 90 * day, true},
		{6 * day, time.Hour, 7 * day, false},
		{8 * day, time.Hour, 7 * day, true},
	} {
		from := time.Now().UTC().Add(-c.ago)
		if from.Truncate(time.Hour).Equal(from) {
			from = from.Add(time.Second)
		}
		to := from.Add(c.window)
		gotFrom, gotTo := storage.Align(from, to, c.kept)
		if !c.wider && (!gotFrom.Equal(from) || !gotTo.Equal(to)) || c.wider && (!gotFrom.Equal(from.Truncate(time.Hour)) || !gotTo.Equal(to.Truncate(time.Hour).Add(time.Hour))) {
			t.Errorf("%+v: %s to %s is answered for %s to %s", c, from, to, gotFrom, gotTo)
		}
	}
}

// sum is what blame is of one key.
type sum struct{ Amount, Stored, ExcessNs int64 }

func askBlame(t *testing.T, db *storage.DB, f storage.BlameFilter, step time.Duration) map[string]sum {
	t.Helper()
	rows, err := db.Blame(t.Context(), f, []string{"Owner", "Service", "Cause"}, step, 100_000)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]sum)
	for _, r := range rows {
		got[blameKey(r.At, step, r.Owner, r.Service, r.Cause)] = sum{r.Amount, r.Stored, r.ExcessNs}
	}
	return got
}

func blameKey(at time.Time, step time.Duration, owner, service, cause string) string {
	if step == 0 {
		return fmt.Sprint(owner, "/", service, "/", cause)
	}
	return fmt.Sprint(at.UTC().Truncate(step).Format(time.DateTime), " ", owner, "/", service, "/", cause)
}

// recountBlame says what is to be answered, from the verdicts themselves.
func recountBlame(now map[spans.TraceID]storage.JudgedTrace, f *storage.BlameFilter, step time.Duration) map[string]sum {
	want := make(map[string]sum)
	add := func(at int64, owner, service, cause string, s sum) {
		began := time.Unix(0, at)
		if began.Before(f.From) || !began.Before(f.To) || f.Owner != "" && owner != f.Owner {
			return
		}
		key := blameKey(began, step, owner, service, cause)
		old := want[key]
		want[key] = sum{old.Amount + s.Amount, old.Stored + s.Stored, old.ExcessNs + s.ExcessNs}
	}
	for _, j := range now {
		for _, v := range j.Verdicts {
			at, represents, left, leftStored := v.Entry.Start.UnixNs, max(v.Represents, 1), int64(math.Round(1e6*max(v.Represents, 1))), int64(1e6)
			cause, most, excessNs := "", 0.0, int64(0)
			guilty := make(map[string]bool)
			for i, s := range v.Shares {
				amount, stored := int64(math.Round(1e6*represents*s.Weight)), int64(math.Round(1e6*s.Weight))
				if i == len(v.Shares)-1 {
					amount, stored = left, leftStored
				}
				left, leftStored = left-amount, leftStored-stored
				if s.Weight > most {
					cause, most = s.Owner, s.Weight
				}
				excessNs += s.ExcessNs
				guilty[s.Owner] = true
				if !f.Suffered {
					add(at, s.Owner, s.Site.Service, "", sum{amount, stored, int64(math.Round(float64(s.ExcessNs) * represents))})
				}
			}
			for _, h := range v.Hops {
				if f.Suffered && h.Role == verdict.RolePropagated && !guilty[h.Owner] {
					guilty[h.Owner] = true // it counts once
					add(at, h.Owner, h.Service, cause, sum{int64(math.Round(1e6 * represents)), 1e6, int64(math.Round(float64(excessNs) * represents))})
				}
			}
		}
	}
	maps.DeleteFunc(want, func(_ string, s sum) bool { return s == sum{} })
	return want
}

// randomJudged is a trace that was not judged before, or one that was, judged again.
func randomJudged(r *rand.Rand, from time.Time, hours int, now map[spans.TraceID]storage.JudgedTrace) storage.JudgedTrace {
	id := spans.TraceID{0: byte(r.IntN(2)), 15: byte(1 + r.IntN(150))}
	j, again := now[id]
	if !again {
		ingested := from.Add(time.Duration(r.IntN(hours*3600)) * time.Second)
		j = storage.JudgedTrace{SettledTrace: storage.SettledTrace{TraceID: id, FirstIngest: ingested, LastIngest: ingested}}
	}
	j.Version++
	j.Rows += uint64(r.IntN(3))
	j.Verdicts = nil
	team := func() string { return []string{"team-1", "team-2", "unowned", "user"}[r.IntN(4)] }
	for range r.IntN(3) {
		v := verdict.Verdict{TraceID: fmt.Sprintf("%x", id[:]), Version: j.Version, Symptom: verdict.SymptomLatency}
		if r.IntN(3) == 0 {
			v.Represents = float64(1 + r.IntN(20))
		}
		// Clocks of senders may say anything.
		v.Entry = verdict.Entry{Service: "web", Operation: "GET /", Start: verdict.Time{UnixNs: j.FirstIngest.Add(time.Duration(r.IntN(7200)-3600) * time.Second).UnixNano()}}
		weights := [][]float64{{1}, {0.75, 0.25}, {0.5, 0.25, 0.25}}[r.IntN(3)]
		for k, w := range weights {
			v.Shares = append(v.Shares, verdict.Share{Site: verdict.Site{Kind: verdict.SiteService, Service: fmt.Sprint("s", k)}, Owner: team(), Weight: w, ExcessNs: r.Int64N(1e9)})
		}
		for k := range r.IntN(4) {
			v.Hops = append(v.Hops, verdict.Hop{Service: fmt.Sprint("h", k), Owner: team(), Role: verdict.RolePropagated})
		}
		j.Verdicts = append(j.Verdicts, v)
	}
	return j
}

// TestBlameOfAnEdge asks for what an edge cost: itself, by its callee, by its caller; from verdicts, and summed up.
func TestBlameOfAnEdge(t *testing.T) {
	db := clickhousetest.DB(t)
	db.SetJudgedSlack(0)
	at := time.Now().UTC().Truncate(time.Hour).Add(-30 * time.Hour)
	service, edge, peer := verdict.SiteService, verdict.SiteEdge, verdict.SitePeer
	shares := []verdict.Share{
		{Owner: "itself", Site: verdict.Site{Kind: edge, Caller: "web", Callee: "pay"}},
		{Owner: "by its callee", Site: verdict.Site{Kind: service, Service: "pay"}, Caller: "web"},
		{Owner: "by its caller", Site: verdict.Site{Kind: service, Service: "web"}, Callee: "pay"},
		{Owner: "by a peer", Site: verdict.Site{Kind: peer, Peer: "pay"}, Caller: "web"},
		{Owner: "another edge", Site: verdict.Site{Kind: edge, Caller: "pay", Callee: "web"}},
		{Owner: "called by another", Site: verdict.Site{Kind: service, Service: "pay"}, Caller: "app"},
		{Owner: "calls another", Site: verdict.Site{Kind: service, Service: "web"}, Callee: "mail"},
		{Owner: "no edge", Site: verdict.Site{Kind: verdict.SiteUser}},
	}
	var list []*storage.JudgedTrace
	for i, s := range shares {
		s.Weight = 1
		list = append(list, &storage.JudgedTrace{
			SettledTrace: storage.SettledTrace{TraceID: spans.TraceID{byte(i + 1)}, Version: 1, FirstIngest: at, LastIngest: at},
			Verdicts: []verdict.Verdict{{
				Symptom: verdict.SymptomError, Entry: verdict.Entry{Service: "web", Start: verdict.Time{UnixNs: at.UnixNano()}}, Shares: []verdict.Share{s},
			}},
		})
	}
	if err := db.WriteJudged(t.Context(), slices.Values(list)); err != nil {
		t.Fatal(err)
	}
	ask := func(of string, wide time.Duration) {
		t.Helper()
		f := storage.BlameFilter{From: at.Add(-wide), To: at.Add(wide), Caller: "web", Callee: "pay"}
		rows, err := db.Blame(t.Context(), f, []string{"Owner"}, 0, 100)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for i := range rows {
			got = append(got, rows[i].Owner)
		}
		if want := []string{"by a peer", "by its callee", "by its caller", "itself"}; !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", of, got, want)
		}
	}
	ask("verdicts", time.Hour)
	ask("an hour that is dirty", 10*time.Hour)
	if made, err := db.RollUp(t.Context(), time.Time{}); made != 1 || err != nil {
		t.Fatal(made, err)
	}
	ask("summed up", 10*time.Hour)
}
