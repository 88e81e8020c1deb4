package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/whosehop/whosehop/ownership"
	"github.com/whosehop/whosehop/ownership/catalog"
	"github.com/whosehop/whosehop/storage/spans"
)

// TestCompany is as large as it is said to be, all faults are met, and its owners are read as they are written.
func TestCompany(t *testing.T) {
	w, err := newWeek()
	if err != nil {
		t.Fatal(err)
	}
	owned := 0
	for _, s := range w.services {
		if s.team != "" {
			owned++
		}
	}
	if len(w.services) != 60 || len(teams(w.services)) != 12 || owned == len(w.services) {
		t.Errorf("%d services, %d of them owned, %d teams", len(w.services), owned, len(teams(w.services)))
	}
	for i, f := range w.faults {
		if len(w.hits[i]) == 0 && f.every > 0 {
			t.Errorf("no request meets the fault of %s %s (%s)", f.on.service.name, f.on.method, f.peer)
		}
	}
	path := filepath.Join(t.TempDir(), "owners.yaml")
	if err := os.WriteFile(path, []byte(ownersFile(w.services)), 0o600); err != nil {
		t.Fatal(err)
	}
	records, problems, err := catalog.Read([]string{path}, catalog.Options{})
	if err != nil || len(problems) > 0 {
		t.Fatalf("%v, %v", err, problems)
	}
	registry := ownership.Compile(records, ownership.Config{})
	for name, want := range map[string]string{"checkout": "team-checkout", "flags": "unowned"} {
		if got := registry.Resolve(&ownership.Question{Service: name}).Owner; got != want {
			t.Errorf("%s is %s's and not %s's", name, got, want)
		}
	}
}

// TestPlan: of a day come as many spans and hit traces as were planned, and a minute is the same each time.
func TestPlan(t *testing.T) {
	w, err := newWeek()
	if err != nil {
		t.Fatal(err)
	}
	from := time.Date(2026, 11, 17, 0, 0, 0, 0, time.UTC)
	const wantSpans, wantHits = 200_000, 2_000
	if err := w.plan(from, from.Add(24*time.Hour), wantSpans, wantHits); err != nil {
		t.Fatal(err)
	}
	healthy := make(map[*template]bool)
	for _, p := range w.healthy {
		for _, one := range p.templates {
			healthy[one] = true
		}
	}
	all, hits := 0, 0
	for at := from; at.Before(from.Add(24 * time.Hour)); at = at.Add(time.Minute) {
		var ids, again []spans.TraceID
		w.minute(at, func(one *template, _, _ int64, id spans.TraceID) {
			ids = append(ids, id)
			all += len(one.spans)
			if !healthy[one] {
				hits++
			}
		})
		w.minute(at, func(_ *template, _, _ int64, id spans.TraceID) { again = append(again, id) })
		if !slices.Equal(ids, again) {
			t.Fatalf("%s has other traces the second time", at)
		}
	}
	if all < wantSpans || all > wantSpans*11/10 || hits < wantHits || hits > wantHits*3/2 {
		t.Errorf("%d spans and %d hit traces; %d and %d were wanted", all, hits, wantSpans, wantHits)
	}
}
