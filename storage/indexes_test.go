package storage_test

import (
	"testing"
	"time"

	"github.com/whosehop/whosehop/internal/clickhousetest"
)

// TestDaysThatAreOverGetFilters, once, and today does not.
func TestDaysThatAreOverGetFilters(t *testing.T) {
	dsn := clickhousetest.DSN(t)
	db, conn := clickhousetest.Open(t, dsn), rawConn(t, dsn)
	now := time.Now().UTC()
	for _, day := range []time.Time{now.Add(-72 * time.Hour), now.Add(-48 * time.Hour), now} {
		err := conn.Exec(t.Context(), "INSERT INTO otel_traces (TraceId, SpanAttributes, IngestTime) SETTINGS materialize_skip_indexes_on_insert = 0 VALUES ('01', {'k': 'v'}, '"+day.Format("2006-01-02 15:04:05.000")+"')")
		if err != nil {
			t.Fatal(err)
		}
	}
	indexed := func() (days uint64) {
		err := conn.QueryRow(t.Context(), "SELECT uniqExact(partition) FROM system.parts WHERE table = 'otel_traces' AND database = currentDatabase() AND active AND secondary_indices_marks_bytes > 0").Scan(&days)
		if err != nil {
			t.Fatal(err)
		}
		return days
	}
	if days, err := db.IndexDays(t.Context()); err != nil || days != 2 {
		t.Fatalf("%d days, %v; want two", days, err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		var left uint64
		if err := conn.QueryRow(t.Context(), "SELECT count() FROM system.mutations WHERE NOT is_done AND database = currentDatabase()").Scan(&left); err != nil {
			t.Fatal(err)
		}
		if left == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("ClickHouse does not come to it")
		}
	}
	if n := indexed(); n != 2 {
		t.Errorf("%d days have filters, want two", n)
	}
	if days, err := db.IndexDays(t.Context()); err != nil || days != 0 {
		t.Errorf("%d days again, %v", days, err)
	}
}
