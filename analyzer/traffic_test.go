package analyzer_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/whosehop/whosehop/analyzer"
	"github.com/whosehop/whosehop/storage"
)

// atTime is a storage whose server has another time.
type atTime struct {
	*storage.DB
	ahead time.Duration
}

func (s *atTime) ServerTime(ctx context.Context) (time.Time, error) {
	now, err := s.DB.ServerTime(ctx)
	return now.Add(s.ahead), err
}

// storeCalls stores calls of a service, one a minute of a time.
func storeCalls(t *testing.T, conn clickhouse.Conn, service string, from, to time.Time) {
	t.Helper()
	err := conn.Exec(t.Context(), fmt.Sprintf(`INSERT INTO otel_traces (Timestamp, IngestTime, TraceId, SpanId, SpanName, SpanKind, ServiceName)
		WITH toDateTime64('%s', 3) + 60 * number AS at SELECT at, at, lower(hex(MD5(concat('%s', toString(at))))), '1', 'GET /', 'Server', '%[2]s' FROM numbers(%[3]d)`,
		from.UTC().Format(time.DateTime), service, int(to.Sub(from)/time.Minute)))
	if err != nil {
		t.Fatal(err)
	}
}

// calls are those of services since a time.
func calls(t *testing.T, db *storage.DB, from, to, now time.Time) map[string]uint64 {
	t.Helper()
	list, err := db.Operations(t.Context(), storage.NewTrafficWindow(from, to, now))
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]uint64)
	for i := range list {
		got[list[i].Service] += list[i].Calls
	}
	return got
}

// counted is the sum of a counter's series.
func counted(t *testing.T, reg *prometheus.Registry, name string) (sum float64) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

// TestTrafficIsSummedUp: of what is stored, and of what was stored before anybody did; late spans are found when an hour is over.
func TestTrafficIsSummedUp(t *testing.T) {
	db, conn := open(t)
	hour := time.Now().UTC().Truncate(time.Hour)
	var metrics *prometheus.Registry
	at := func(clock time.Duration) (stop func()) {
		cfg := analyzer.Config{
			Quiet: time.Second, WaitMax: 2 * time.Second, Workers: 1, SpansMax: 1000, Scope: storage.Slow, BytesMax: 64 << 20, SeriesMax: 100, Slice: storage.Slice{To: 1, Of: 1},
		}
		reg := prometheus.NewRegistry()
		store := &atTime{DB: db, ahead: time.Until(hour.Add(clock))}
		a, err := analyzer.New(cfg, store, []analyzer.ShardStore{store}, nobody{}, slog.New(slog.NewTextHandler(t.Output(), nil)), reg)
		if err != nil {
			t.Fatal(err)
		}
		metrics = reg
		return start(t, a)
	}
	await := func(what string, condition func() bool) {
		t.Helper()
		deadline := time.Now().Add(time.Minute)
		for !condition() {
			if time.Now().After(deadline) {
				t.Fatalf("not %s after a minute", what)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	made := func(grain storage.Grain) map[time.Time]uint64 {
		t.Helper()
		known, err := db.TrafficMade(t.Context(), hour.Add(-30*24*time.Hour), grain)
		if err != nil {
			t.Fatal(err)
		}
		return known
	}
	first := hour.Add(-50 * time.Hour)
	storeCalls(t, conn, "old", first, hour.Add(-40*time.Hour))
	storeCalls(t, conn, "web", hour.Add(-10*time.Hour), hour.Add(70*time.Minute))

	// At ten past: all hours that are over, and the minutes of the last one and of this.
	stop := at(10 * time.Minute)
	await("all made", func() bool {
		_, known := made(storage.ByHour)[first]
		return known && len(made(storage.ByMinute)) >= 60+9
	})
	stop()
	// Metrics count the last minutes.
	if n := counted(t, metrics, "whosehop_requests_total"); n < 3 || n > 6 {
		t.Errorf("%v requests are in the metrics", n)
	}
	now := hour.Add(10 * time.Minute)
	if got := calls(t, db, first.Add(-time.Hour), now, now); got["old"] != 600 || got["web"] < 609 || got["web"] > 610 {
		t.Errorf("at ten past: %v", got)
	}
	if got := calls(t, db, now.Add(-time.Hour), now, now); got["web"] < 59 || got["web"] > 60 {
		t.Errorf("in the hour before: %v", got)
	}
	if n := made(storage.ByHour)[hour]; n != 0 {
		t.Errorf("this hour is not over, and has %d", n)
	}

	// Spans that become visible long after their minute was made are counted with their hour.
	storeCalls(t, conn, "late", hour.Add(2*time.Minute), hour.Add(4*time.Minute))
	stop = at(time.Hour + 5*time.Minute)
	await("this hour made", func() bool { _, known := made(storage.ByHour)[hour]; return known })
	stop()
	now = hour.Add(65 * time.Minute)
	if got := calls(t, db, first, now, now); got["late"] != 2 || got["old"] != 600 || got["web"] < 664 || got["web"] > 665 {
		t.Errorf("an hour later: %v", got)
	}

	// After a long time without an analyzer.
	storeCalls(t, conn, "web", hour.Add(70*time.Minute), hour.Add(6*time.Hour))
	stop = at(6 * time.Hour)
	await("what was left out made", func() bool {
		return len(made(storage.ByHour)) >= 56-2 && made(storage.ByHour)[hour.Add(time.Hour)] == 60
	})
	stop()
}
