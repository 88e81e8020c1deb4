package storage_test

import (
	"fmt"
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
	err := db.ReadBaseline(t.Context(), 20, 3*time.Hour, func(c *storage.BaselineCell) {
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
