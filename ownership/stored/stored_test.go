package stored_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/whosehop/whosehop/internal/clickhousetest"
	"github.com/whosehop/whosehop/ownership"
	"github.com/whosehop/whosehop/ownership/catalog"
	"github.com/whosehop/whosehop/ownership/stored"
	"github.com/whosehop/whosehop/storage"
)

func TestMain(m *testing.M) { clickhousetest.Main(m) }

// role is one that follows the registry.
type role struct {
	*stored.Registry
	current *ownership.Current
	reg     *prometheus.Registry
	said    *bytes.Buffer
}

func newRole(store stored.Store) *role {
	r := &role{current: new(ownership.Current), reg: prometheus.NewRegistry(), said: new(bytes.Buffer)}
	r.Registry = stored.New(store, ownership.Config{Attributes: []string{"team"}}, r.current, slog.New(slog.NewTextHandler(r.said, nil)), r.reg)
	return r
}

func started(t *testing.T, store stored.Store, file []catalog.Record) *role {
	t.Helper()
	r := newRole(store)
	var wanted *ownership.Wanted
	if file != nil {
		wanted = &ownership.Wanted{Records: file}
	}
	if err := r.Start(t.Context(), wanted); err != nil {
		t.Fatal(err)
	}
	return r
}

func service(name, owner string) catalog.Record {
	return catalog.Record{Kind: catalog.Service, Name: name, Owner: owner, Source: catalog.Source{Format: "whosehop", File: "owners.yaml", Line: 3}}
}

func apply(t *testing.T, r *role, set string, records ...catalog.Record) *ownership.Applied {
	t.Helper()
	applied, err := r.Apply(t.Context(), ownership.Wanted{Set: set, Records: records}, false)
	if err != nil {
		t.Fatal(err)
	}
	return applied
}

func (r *role) owner(name string) string {
	return r.current.Resolve(&ownership.Question{Service: name}).Owner
}

func (r *role) look(t *testing.T) {
	t.Helper()
	if err := r.Look(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (r *role) metric(t *testing.T, name string) float64 {
	t.Helper()
	families, err := r.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

func TestWhatIsAppliedIsInForceEverywhere(t *testing.T) {
	db := clickhousetest.DB(t)
	one, other := started(t, db, nil), started(t, db, nil)
	attribute := one.current.Resolve(&ownership.Question{Service: "x", Attr: func(key string) (string, bool) { return "by-attribute", key == "team" }})
	if attribute.Owner != "by-attribute" {
		t.Errorf("with nothing stored, attributes say %s", attribute.Owner)
	}
	full := service("payments", "team-a")
	full.Charter = catalog.Charter{OnCall: "https://pager/1", Escalation: []string{"ann", "bob"}, DependsOn: []string{"db"}, Reviewed: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)}
	full.Links, full.Aliases = []catalog.Link{{Name: "wiki", Target: "https://wiki"}}, []string{"pay"}
	apply(t, one, "default", full, service("cart", "team-c"))
	apply(t, one, "shop", service("shop", "team-s"))
	if got := one.owner("payments"); got != "team-a" {
		t.Errorf("where it was applied it is %s", got)
	}
	if got := other.owner("payments"); got != ownership.Unowned {
		t.Errorf("elsewhere it is %s before a look", got)
	}
	other.look(t)
	for name, owner := range map[string]string{"payments": "team-a", "pay": "team-a", "cart": "team-c", "shop": "team-s"} {
		if got := other.owner(name); got != owner {
			t.Errorf("%s is of %s, want %s", name, got, owner)
		}
	}
	full.Set = "default"
	if records := other.current.Registry().Records(); len(records) != 3 || fmt.Sprintf("%+v", records[1]) != fmt.Sprintf("%+v", full) {
		t.Errorf("read back: %+v", records)
	}
	registry := other.current.Registry()
	if other.look(t); other.current.Registry() != registry {
		t.Error("it was compiled anew, and nothing had changed")
	}
	if applied := apply(t, other, "default", full, service("cart", "team-c")); applied.Differs || applied.Unchanged != 2 {
		t.Errorf("the same again: %+v", applied)
	}
	if one.look(t); strings.Count(one.said.String(), "owners in force") != 3 {
		t.Errorf("the log should tell each change once: %s", one.said)
	}

	before := time.Now()
	applied := apply(t, other, "default", full, service("cart", "team-d"))
	if len(applied.Handovers) != 1 || applied.Handovers[0].Before != "team-c" || applied.Handovers[0].After != "team-d" {
		t.Errorf("%+v", applied.Handovers)
	}
	one.look(t)
	past := ownership.Question{Service: "cart", AtNs: before.Add(-time.Hour).UnixNano()}
	if got := one.current.Resolve(&past).Owner; got != "team-c" || one.owner("cart") != "team-d" || one.owner("shop") != "team-s" {
		t.Errorf("an hour ago it was %s, now %s", got, one.owner("cart"))
	}
	// Whoever starts now knows as much.
	if late := started(t, db, nil); late.current.Resolve(&past).Owner != "team-c" || late.owner("cart") != "team-d" {
		t.Error("a role that starts later knows less")
	}
	if got := one.metric(t, "whosehop_owners_records"); got != 4 {
		t.Errorf("%v records", got)
	}
	if age := one.metric(t, "whosehop_owners_age_seconds"); age < 0 || age > 60 {
		t.Errorf("looked %v seconds ago", age)
	}
	if at := one.metric(t, "whosehop_owners_applied_seconds"); at < float64(before.Unix()) || at > float64(time.Now().Unix()+1) {
		t.Errorf("applied at %v", at)
	}
	if state := one.State(); !strings.Contains(state, "owners: 4 records in 2 sets, 0 conflicts, applied 20") {
		t.Error(state)
	}
}

func TestADryRunChangesNothing(t *testing.T) {
	db := clickhousetest.DB(t)
	r := started(t, db, nil)
	apply(t, r, "default", service("payments", "team-a"))
	applied, err := r.Apply(t.Context(), ownership.Wanted{Set: "default", Records: []catalog.Record{service("payments", "team-b")}}, true)
	if err != nil || len(applied.Handovers) != 1 || applied.Changed != 1 {
		t.Errorf("%+v, %v", applied, err)
	}
	other := started(t, db, nil)
	if r.owner("payments") != "team-a" || other.owner("payments") != "team-a" {
		t.Error("a dry run was applied")
	}
}

func TestWhatCannotBeApplied(t *testing.T) {
	r := started(t, clickhousetest.DB(t), nil)
	long := service("payments", "a")
	for range 300 {
		long.Links = append(long.Links, catalog.Link{Name: "x", Target: strings.Repeat("x", 2000)})
	}
	for _, w := range []ownership.Wanted{
		{Set: "", Records: []catalog.Record{service("payments", "a")}}, {Set: "s", Records: []catalog.Record{{Kind: "thing"}}}, {Set: "s", Records: []catalog.Record{long}},
	} {
		if _, err := r.Apply(t.Context(), w, false); !errors.Is(err, stored.ErrInvalid) || len(err.Error()) > 500 {
			t.Errorf("%s: %v", w.Set, err)
		}
		if _, err := r.Apply(t.Context(), w, true); !errors.Is(err, stored.ErrInvalid) {
			t.Errorf("a dry run of %s: %v", w.Set, err)
		}
	}
	if n := len(r.current.Registry().Records()); n != 0 {
		t.Errorf("%d records", n)
	}
	long.Links = long.Links[:250]
	apply(t, r, "s", long)
	if got := r.current.Registry().Records(); len(got) != 1 || len(got[0].Links) != 250 {
		t.Errorf("%d records", len(got))
	}
}

// TestAFolderThatIsBrokenInPart: what its broken files said before stays.
func TestAFolderThatIsBrokenInPart(t *testing.T) {
	db := clickhousetest.DB(t)
	cart := service("cart", "team-b")
	cart.Source.File = "cart.yaml"
	started(t, db, []catalog.Record{service("payments", "team-a"), cart})
	r := newRole(db)
	if err := r.Start(t.Context(), &ownership.Wanted{Records: []catalog.Record{service("payments", "team-c")}, Keep: []string{"cart.yaml"}}); err != nil {
		t.Fatal(err)
	}
	if r.owner("payments") != "team-c" || r.owner("cart") != "team-b" {
		t.Errorf("payments %s, cart %s", r.owner("payments"), r.owner("cart"))
	}
}

// TestManyApplyAtOnce: what is in force in the end is whole, as one of them wanted it, and the same for all.
func TestManyApplyAtOnce(t *testing.T) {
	db := clickhousetest.DB(t)
	const roles, services, rounds = 4, 300, 5
	var all [roles]*role
	var group sync.WaitGroup
	for i := range all {
		all[i] = started(t, db, nil)
		group.Go(func() {
			for round := range rounds {
				var records []catalog.Record
				for k := range services + i { // of different lengths
					records = append(records, service(fmt.Sprint("s", k), fmt.Sprint("team-", i, "-", round)))
				}
				if _, err := all[i].Apply(t.Context(), ownership.Wanted{Set: "default", Records: records}, false); err != nil && !errors.Is(err, stored.ErrRaced) {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	winner := ""
	for _, r := range append(all[:], started(t, db, nil)) {
		r.look(t)
		winner = cmp.Or(winner, r.owner("s0"))
		for k := range services {
			if got := r.owner(fmt.Sprint("s", k)); got != winner {
				t.Fatalf("s%d is of %s, s0 of %s", k, got, winner)
			}
		}
	}
	if !strings.HasPrefix(winner, "team-") {
		t.Error(winner)
	}
}

// racer is a storage to which something happens while it is written.
type racer struct {
	stored.Store
	after   func() // once, after a write
	instead func(set string, version uint64, records []storage.OwnerRecord) error
	missing []string
}

func (r *racer) OwnerSets(ctx context.Context) (storage.OwnerSets, error) {
	sets, err := r.Store.OwnerSets(ctx)
	sets.Missing = append(sets.Missing, r.missing...)
	return sets, err
}

func (r *racer) WriteOwners(ctx context.Context, set string, version uint64, records []storage.OwnerRecord) error {
	if r.instead != nil {
		return r.instead(set, version, records)
	}
	err := r.Store.WriteOwners(ctx, set, version, records)
	if do := r.after; do != nil {
		r.after = nil
		do()
	}
	return err
}

func TestTheLaterOfTwoCounts(t *testing.T) {
	db := clickhousetest.DB(t)
	other := started(t, db, nil)
	first := started(t, &racer{Store: db, after: func() { apply(t, other, "default", service("payments", "team-late")) }}, nil)
	_, err := first.Apply(t.Context(), ownership.Wanted{Set: "default", Records: []catalog.Record{service("payments", "team-early")}}, false)
	if !errors.Is(err, stored.ErrRaced) {
		t.Errorf("whoever was overtaken is not told: %v", err)
	}
	first.look(t)
	other.look(t)
	if first.owner("payments") != "team-late" || other.owner("payments") != "team-late" {
		t.Errorf("%s and %s", first.owner("payments"), other.owner("payments"))
	}
	apply(t, first, "default", service("payments", "team-early"))
	if other.look(t); other.owner("payments") != "team-early" {
		t.Error("again does not help")
	}
}

// TestStorageOlderThanARole: a backup without the newest version was put in place. What is applied next is stored, even if it is
// what a role knows.
func TestStorageOlderThanARole(t *testing.T) {
	for _, owner := range []string{"team-a", "team-b"} {
		store := &racer{Store: clickhousetest.DB(t)}
		r := started(t, store, nil)
		apply(t, r, "default", service("payments", "team-a"))
		store.Store = clickhousetest.DB(t)
		r.look(t)
		if got := r.owner("payments"); got != "team-a" {
			t.Errorf("%s counts, which is older than what was known", got)
		}
		apply(t, r, "default", service("payments", owner))
		if got := started(t, store.Store, nil).owner("payments"); got != owner {
			t.Errorf("stored is %s, applied was %s", got, owner)
		}
	}
}

// TestShardsAway: roles go on with the registry that they have, what is applied waits until all shards are there, and a shard
// that was away has it all after the next apply.
func TestShardsAway(t *testing.T) {
	dsn, network := clickhousetest.Cluster(t)
	log := slog.New(slog.DiscardHandler)
	db, err := storage.OpenCluster(t.Context(), dsn, clickhousetest.ClusterName, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if err := db.Migrate(t.Context(), storage.Retention{}); err != nil {
		t.Fatal(err)
	}
	r := started(t, db, nil)
	apply(t, r, "default", service("payments", "team-a"))

	network[1].Vanish()
	next := ownership.Wanted{Set: "default", Records: []catalog.Record{service("payments", "team-b")}}
	if _, err := r.Apply(t.Context(), next, false); !errors.Is(err, stored.ErrAway) || !strings.Contains(err.Error(), "nothing is applied; missing: shard 2 (") {
		t.Errorf("%v", err)
	}
	if applied, err := r.Apply(t.Context(), next, true); err != nil || len(applied.Handovers) != 1 {
		t.Errorf("a dry run needs no more than one shard: %v", err)
	}
	// A role that starts meanwhile knows what the others have, and heeds a file of its own.
	for _, file := range [][]catalog.Record{nil, {service("payments", "team-f"), service("cart", "team-f")}} {
		late := started(t, db, file)
		want := "team-a"
		if file != nil {
			want = "team-f"
		}
		if got := late.owner("payments"); got != want {
			t.Errorf("a role that starts while a shard is away says %s, want %s", got, want)
		}
	}
	if r.look(t); r.owner("payments") != "team-a" {
		t.Error("what cannot be applied is in force")
	}

	// It goes away in the middle: the others have it.
	if err := network[1].Heal(); err != nil {
		t.Fatal(err)
	}
	vanishing := newRole(&racer{Store: db, instead: func(set string, version uint64, records []storage.OwnerRecord) error {
		network[1].Vanish()
		return db.WriteOwners(t.Context(), set, version, records)
	}})
	if err := vanishing.Start(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := vanishing.Apply(t.Context(), next, false); !errors.Is(err, stored.ErrAway) || !strings.Contains(err.Error(), "shard 2 (") {
		t.Errorf("%v", err)
	}
	if r.look(t); r.owner("payments") != "team-b" {
		t.Errorf("two shards have it, and a role says %s", r.owner("payments"))
	}
	network[0].Vanish()
	network[2].Vanish()
	if err := r.Look(t.Context()); err == nil {
		t.Error("nothing is there, and a look is well")
	}
	if !strings.Contains(r.State(), "is not known since") || r.owner("payments") != "team-b" {
		t.Errorf("with all away: %s, %s", r.State(), r.owner("payments"))
	}
	if err := network[1].Heal(); err != nil { // which has an earlier version
		t.Fatal(err)
	}
	if r.look(t); r.owner("payments") != "team-b" {
		t.Error("a shard that is behind took the registry back")
	}
	for _, p := range network {
		if err := p.Heal(); err != nil {
			t.Fatal(err)
		}
	}
	if applied := apply(t, r, "default", service("payments", "team-b")); applied.Differs {
		t.Errorf("%+v", applied)
	}
	network[0].Vanish()
	network[2].Vanish()
	if late := started(t, db, nil); late.owner("payments") != "team-b" {
		t.Errorf("the shard that was behind says %s", late.owner("payments"))
	}
	// All were away once; a look that took too long may have been another time.
	if said := strings.Count(r.said.String(), "cannot be read"); said < 1 || said > 2 {
		t.Errorf("the log says %d times that it cannot be read: %s", said, r.said)
	}
}

// TestAFileWaitsForAllShards: ownership.file is stored once all are there.
func TestAFileWaitsForAllShards(t *testing.T) {
	db := clickhousetest.DB(t)
	away := &racer{Store: db, missing: []string{"shard 2"}}
	r := started(t, away, []catalog.Record{service("payments", "team-f")})
	if r.owner("payments") != "team-f" || started(t, db, nil).owner("payments") != ownership.Unowned {
		t.Error("the file should count here alone")
	}
	away.missing = nil
	r.ApplyFile(t.Context())
	if r.look(t); r.owner("payments") != "team-f" || started(t, db, nil).owner("payments") != "team-f" {
		t.Error("the file is not stored")
	}
	// What is applied later counts, until a role starts with the file again.
	apply(t, r, "default", service("payments", "team-g"))
	r.ApplyFile(t.Context())
	if r.look(t); r.owner("payments") != "team-g" {
		t.Error("the file came back")
	}
}

// TestManyRecords prints what a large company costs.
func TestManyRecords(t *testing.T) {
	const services, rules = 10_000, 50_000
	db := clickhousetest.DB(t)
	var records []catalog.Record
	for i := range services {
		c := service(fmt.Sprint("service-", i), fmt.Sprint("team-", i%400))
		c.Namespace, c.Source.Line = fmt.Sprint("ns-", i%50), i+1
		c.Charter = catalog.Charter{OnCall: fmt.Sprint("https://pager.example/schedules/P", i%400), Chat: "#team", Runbook: fmt.Sprint("https://wiki.example/runbooks/", i), Tier: "2"}
		records = append(records, c)
	}
	for i := range rules {
		c := catalog.Record{Kind: catalog.Path, Pattern: fmt.Sprintf("/src/part-%d/module-%d/**", i%700, i), Owner: fmt.Sprint("team-", i%400)}
		c.Source = catalog.Source{Format: "codeowners", File: fmt.Sprintf("repo-%d/CODEOWNERS", i%100), Line: i/100 + 1}
		records = append(records, c)
	}
	r, other := started(t, db, nil), started(t, db, nil)
	took := func(what string, do func()) {
		began := time.Now()
		do()
		t.Logf("%s: %s", what, time.Since(began).Round(time.Millisecond))
	}
	took("first", func() {
		if applied := apply(t, r, "default", records...); applied.Added != len(records) {
			t.Errorf("%d added", applied.Added)
		}
	})
	took("reload", func() { other.look(t) })
	took("the same again", func() {
		if applied := apply(t, r, "default", records...); applied.Unchanged != len(records) || applied.Differs {
			t.Errorf("%d unchanged", applied.Unchanged)
		}
	})
	for i := 0; i < services; i += 10 {
		records[i].Owner = "team-new"
	}
	took("a tenth of the services changes hands", func() {
		if applied := apply(t, r, "default", records...); len(applied.Handovers) != services/10 {
			t.Errorf("%d hand-overs", len(applied.Handovers))
		}
	})
	took("reload", func() { other.look(t) })
	if n := len(other.current.Registry().Records()); n != len(records)+services/10 || other.owner("service-10") != "team-new" {
		t.Errorf("%d records", n)
	}
}
