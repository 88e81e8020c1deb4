package storage_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/whosehop/whosehop/internal/clickhousetest"
	"github.com/whosehop/whosehop/storage"
)

func TestBaselineAddsUp(t *testing.T) {
	db := clickhousetest.Open(t, clickhousetest.DSN(t))
	now := time.Now().UTC()
	minute := now.Unix() / 60
	cells := []storage.BaselineCell{
		{Kind: 1, Key: [4]string{"a", "op"}, Counts: map[int32]int64{0: 1, 340: 2}},
		{Kind: 13, Key: [4]string{"a", "1.0"}, Low: 50, High: 70},
		{Kind: 20, Key: [4]string{"a", "b"}, Minute: minute, Counts: map[int32]int64{0: 4, 5: 1000}},
		{Kind: 20, Key: [4]string{"a", "b"}, Minute: minute - 1, Counts: map[int32]int64{0: 1}},
	}
	old := []storage.BaselineCell{{Kind: 20, Key: [4]string{"a", "b"}, Minute: minute - 2, Counts: map[int32]int64{0: 9}}}
	more := []storage.BaselineCell{
		{Kind: 1, Key: [4]string{"a", "op"}, Counts: map[int32]int64{340: 1, 341: 5}},
		{Kind: 1, Key: [4]string{"a", "op"}, Failed: true, Counts: map[int32]int64{7: 1}},
		{Kind: 13, Key: [4]string{"a", "1.0"}, Low: 40, High: 60},
		{Kind: 20, Key: [4]string{"a", "b"}, Minute: minute, Counts: map[int32]int64{0: 1}},
	}
	for _, write := range []struct {
		cells []storage.BaselineCell
		token string
		at    time.Time
	}{{cells, "one", now}, {more, "two", now.Add(-2 * time.Hour)}, {cells, "one", now}, {nil, "three", now}, {old, "four", now.Add(-5 * time.Hour)}} {
		if err := db.WriteBaseline(t.Context(), write.cells, write.at, write.token); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	err := db.ReadBaseline(t.Context(), storage.BaselineQuery{Recent: 3 * time.Hour, Histograms: []uint8{1}, SameTimeMin: 1000, CellsMost: 100}, func(c *storage.BaselineCell) {
		got = append(got, fmt.Sprint(c.Kind, c.Key, c.Failed, max(c.Minute-minute, -9), c.Counts, c.Low, c.High))
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	want := []string{
		"1 [a op  ] false -9 map[0:1 340:3 341:5] 0 0",
		"1 [a op  ] true -9 map[7:1] 0 0",
		"13 [a 1.0  ] false -9 map[] 40 70",
		"20 [a b  ] false -1 map[0:1] 0 0",
		"20 [a b  ] false 0 map[0:5 5:1000] 0 0",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q\nwant\n%q", got, want)
	}
}

// TestBaselineOfTheHour: what is learnt at this hour of the week counts alone, where there is enough of it.
func TestBaselineOfTheHour(t *testing.T) {
	db := clickhousetest.Open(t, clickhousetest.DSN(t))
	now := time.Now().UTC()
	for k, at := range []time.Time{now, now.AddDate(0, 0, -7), now.Add(-3 * time.Hour), now.AddDate(0, 0, -1)} {
		cells := []storage.BaselineCell{
			{Kind: 1, Key: [4]string{"busy"}, Counts: map[int32]int64{int32(k): 60}},
			{Kind: 1, Key: [4]string{"rare"}, Counts: map[int32]int64{int32(k): 6}},
			{Kind: 3, Key: [4]string{"busy"}, Counts: map[int32]int64{0: 60}},
		}
		if err := db.WriteBaseline(t.Context(), cells, at, fmt.Sprint("hour-", k)); err != nil {
			t.Fatal(err)
		}
	}
	got := make(map[string]string)
	err := db.ReadBaseline(t.Context(), storage.BaselineQuery{Recent: time.Hour, Histograms: []uint8{1}, SameTimeMin: 100, CellsMost: 100}, func(c *storage.BaselineCell) {
		got[fmt.Sprint(c.Kind, c.Key[0])] = fmt.Sprint(c.Counts)
	})
	want := map[string]string{"1busy": "map[0:60 1:60]", "1rare": "map[0:6 1:6 2:6 3:6]", "3busy": "map[0:240]"}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, want %v (%v)", got, want, err)
	}
}

func readAll(t *testing.T, db *storage.DB, most int) (cells []storage.BaselineCell) {
	t.Helper()
	err := db.ReadBaseline(t.Context(), storage.BaselineQuery{Recent: 3 * time.Hour, CellsMost: most}, func(c *storage.BaselineCell) { cells = append(cells, *c) })
	if err != nil {
		t.Fatal(err)
	}
	return cells
}

// TestBaselineHeedsNoClockOfASpan: whatever minutes spans say, they are stored, in one partition.
func TestBaselineHeedsNoClockOfASpan(t *testing.T) {
	dsn := clickhousetest.DSN(t)
	db := clickhousetest.Open(t, dsn)
	var cells []storage.BaselineCell
	for k := range int64(300) {
		cells = append(cells, storage.BaselineCell{Kind: 20, Key: [4]string{"a", "b"}, Minute: 1 + k*60*24*31*20, Counts: map[int32]int64{0: 1}})
	}
	if err := db.WriteBaseline(t.Context(), cells, time.Now(), "one"); err != nil {
		t.Fatal(err)
	}
	got := readAll(t, db, 1000)
	if len(got) != len(cells) || got[0].Minute != cells[len(cells)-1].Minute {
		t.Errorf("%d cells, the first of minute %d", len(got), got[0].Minute)
	}
	n, err := db.Count(t.Context(), "SELECT uniqExact(partition) FROM system.parts WHERE database = currentDatabase() AND table = 'baseline_recent'")
	if err != nil || n != 1 {
		t.Errorf("%d partitions (%v)", n, err)
	}
}

func TestBaselineReadsTheMostFirst(t *testing.T) {
	db := clickhousetest.DB(t)
	var cells []storage.BaselineCell
	for k := range int64(50) {
		cells = append(cells, storage.BaselineCell{Kind: 1, Key: [4]string{fmt.Sprint(k)}, Counts: map[int32]int64{1: k + 1}})
	}
	if err := db.WriteBaseline(t.Context(), cells, time.Now(), "one"); err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, db, 10); len(got) != 10 || got[0].Key[0] != "49" || got[9].Key[0] != "40" {
		t.Errorf("%v", got)
	}
}

// TestBaselineOfManyWriters: what several write at once adds up, and what all of them have is counted once.
func TestBaselineOfManyWriters(t *testing.T) {
	dsn := clickhousetest.DSN(t)
	clickhousetest.Open(t, dsn)
	var group errgroup.Group
	for writer := range 3 {
		db := clickhousetest.Open(t, dsn)
		group.Go(func() error {
			for window := range 10 {
				cells := []storage.BaselineCell{
					{Kind: 1, Key: [4]string{"a"}, Counts: map[int32]int64{5: 1}},
					{Kind: 20, Key: [4]string{"a"}, Minute: 7, Counts: map[int32]int64{0: 1}},
				}
				for _, token := range []string{fmt.Sprint("of all ", window), fmt.Sprint("own ", writer, window)} {
					if err := db.WriteBaseline(t.Context(), cells, time.Now(), token); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, c := range readAll(t, clickhousetest.Open(t, dsn), 100) {
		if want := int64(10 + 3*10); c.Counts[5]+c.Counts[0] != want {
			t.Errorf("%+v, want %d", c, want)
		}
	}
}

func TestBaselineExpires(t *testing.T) {
	dsn := clickhousetest.DSN(t)
	db := clickhousetest.Open(t, dsn)
	if err := db.Migrate(t.Context(), storage.Retention{Baseline: 48 * time.Hour}); err != nil {
		t.Fatal(err)
	}
	for table, ttl := range map[string]string{"baseline": "TTL At + toIntervalSecond(172800)", "baseline_recent": "TTL At + toIntervalHour(4)"} {
		n, err := db.Count(t.Context(), "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name = ? AND position(create_table_query, ?) > 0", table, ttl)
		if err != nil || n != 1 {
			t.Errorf("%s has not %s (%v)", table, ttl, err)
		}
	}
}
