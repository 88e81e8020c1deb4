package storage_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

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
		{Kind: 20, Key: [4]string{"a", "b"}, Minute: minute - 500, Counts: map[int32]int64{0: 9}},
	}
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
	}{{cells, "one", now}, {more, "two", now.Add(-2 * time.Hour)}, {cells, "one", now}, {nil, "three", now}} {
		if err := db.WriteBaseline(t.Context(), write.cells, write.at, write.token); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	err := db.ReadBaseline(t.Context(), storage.BaselineQuery{ByMinute: 20, Recent: 3 * time.Hour, Histograms: []uint8{1}, SameTimeMin: 1000}, func(c *storage.BaselineCell) {
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
	err := db.ReadBaseline(t.Context(), storage.BaselineQuery{ByMinute: 20, Recent: time.Hour, Histograms: []uint8{1}, SameTimeMin: 100}, func(c *storage.BaselineCell) {
		got[fmt.Sprint(c.Kind, c.Key[0])] = fmt.Sprint(c.Counts)
	})
	want := map[string]string{"1busy": "map[0:60 1:60]", "1rare": "map[0:6 1:6 2:6 3:6]", "3busy": "map[0:240]"}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, want %v (%v)", got, want, err)
	}
}
