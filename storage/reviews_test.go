package storage_test

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/whosehop/whosehop/internal/clickhousetest"
	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/storage/spans"
)

func TestReviewsAreKeptAndCountedOnce(t *testing.T) {
	reviewsAreKeptAndCountedOnce(t, clickhousetest.DB(t))
}

func reviewsAreKeptAndCountedOnce(t *testing.T, db *storage.DB) {
	t.Helper()
	start := time.Date(2026, 11, 20, 10, 0, 0, 123_456_000, time.UTC)
	if list, err := db.ListReviews(t.Context(), storage.ReviewFilter{Limit: 10}); err != nil || len(list) != 0 {
		t.Fatalf("%v, %v", list, err)
	}
	const traces = 6
	write := func(trace byte, entry, kind, rule string, after time.Duration) storage.Review {
		r := storage.Review{
			TraceID: spans.TraceID{trace + 1, 15: trace * 37}, EntrySpanID: entry, At: start.Add(after), Kind: kind, Author: "anna '\\", Why: "because\n\"so\" 'it' is",
			Version: 3, Rule: rule, Owner: "team-a", Summary: "pay broke it",
		}
		if err := db.WriteReview(t.Context(), &r); err != nil {
			t.Fatal(err)
		}
		return r
	}
	first := write(0, "0a", "confirmed", "self-error", 0)
	for i := range byte(traces - 1) {
		write(i+1, "0a", "confirmed", "self-error", time.Duration(i+1)*time.Minute)
	}
	// Two change their mind, one of them twice, and another entry of a trace is a verdict of its own.
	write(1, "0a", "contested", "self-error", time.Hour)
	write(2, "0a", "contested", "self-error", time.Hour+time.Second)
	last := write(2, "0a", "confirmed", "dns", time.Hour+2*time.Second)
	write(3, "0b", "contested", "dns", time.Hour+time.Second)
	const written = traces + 4

	var seen []storage.Review
	filter := storage.ReviewFilter{Limit: 3}
	for pages := 0; ; pages++ {
		page, err := db.ListReviews(t.Context(), filter)
		if err != nil || pages > written {
			t.Fatal(pages, err)
		}
		if len(page) == 0 {
			break
		}
		seen = append(seen, page...)
		end := &page[len(page)-1]
		filter.Before = &storage.ReviewKey{AtUs: end.At.UnixMicro(), TraceID: fmt.Sprintf("%x", end.TraceID[:]), EntrySpanID: end.EntrySpanID}
	}
	if len(seen) != written || seen[0] != last || seen[written-1] != first {
		t.Errorf("%d of %d on all pages; the newest %+v, the oldest %+v", len(seen), written, seen[0], seen[len(seen)-1])
	}
	for name, test := range map[string]struct {
		filter storage.ReviewFilter
		want   int
	}{
		"trace":    {storage.ReviewFilter{TraceID: &last.TraceID}, 3},
		"kind":     {storage.ReviewFilter{Kind: "contested"}, 3},
		"rule":     {storage.ReviewFilter{Rule: "dns"}, 2},
		"owner":    {storage.ReviewFilter{Owner: "x'; DROP TABLE verdict_reviews"}, 0},
		"from":     {storage.ReviewFilter{From: start.Add(time.Hour)}, 4},
		"to":       {storage.ReviewFilter{To: start}, 0},
		"together": {storage.ReviewFilter{Kind: "contested", Rule: "self-error", From: start.Add(time.Hour), To: start.Add(time.Hour + 1000)}, 1},
	} {
		test.filter.Limit = 100
		if list, err := db.ListReviews(t.Context(), test.filter); err != nil || len(list) != test.want {
			t.Errorf("by %s: %d, %v; want %d", name, len(list), err, test.want)
		}
	}
	counts, err := db.CountReviews(t.Context(), start, start.Add(24*time.Hour))
	if err != nil || len(counts) != 2 || counts[0] != (storage.ReviewCount{Rule: "self-error", Confirmed: 4, Contested: 1}) || counts[1] != (storage.ReviewCount{Rule: "dns", Confirmed: 1, Contested: 1}) {
		t.Errorf("%+v, %v", counts, err)
	}
	// Who changed their mind after the time that is asked for counts in a later one.
	counts, err = db.CountReviews(t.Context(), start, start.Add(time.Hour))
	if err != nil || len(counts) != 1 || counts[0] != (storage.ReviewCount{Rule: "self-error", Confirmed: 4}) {
		t.Errorf("%+v, %v", counts, err)
	}
}

// TestAReviewIsNotWaitedForWithoutEnd: the deadline of who gives it holds, though the driver must not see when they leave.
func TestAReviewIsNotWaitedForWithoutEnd(t *testing.T) {
	at, err := url.Parse(clickhousetest.DSN(t))
	if err != nil {
		t.Fatal(err)
	}
	free, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = free.Close()
	network := clickhousetest.StartProxy(t, free.Addr().String(), at.Host)
	at.Host = free.Addr().String()
	db := clickhousetest.Open(t, at.String())
	review := storage.Review{EntrySpanID: "0a", At: time.Now(), Kind: "confirmed"}
	if err := db.WriteReview(t.Context(), &review); err != nil {
		t.Fatal(err)
	}
	network.Stall(false, true)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	written := make(chan error, 1)
	go func() { written <- db.WriteReview(ctx, &review) }()
	select {
	case err := <-written:
		if err == nil {
			t.Error("a review was written that nobody acknowledged")
		}
	case <-time.After(30 * time.Second): // the connection's own limits are a minute
		t.Error("a review is waited for after its deadline")
	}
	if err := network.Heal(); err != nil {
		t.Fatal(err)
	}
	if err := db.WriteReview(t.Context(), &review); err != nil {
		t.Errorf("the next one: %v", err)
	}
}
