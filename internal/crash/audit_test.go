package crash

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// audit holds what is stored against what was sent and answered, and returns how many spans are stored.
func (b *book) audit(t *testing.T, dsn string) (stored uint64) {
	t.Helper()
	options, err := clickhouse.ParseDSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := clickhouse.Open(options)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	// A collector with nothing in its spool does not wait for ClickHouse.
	waitUntil(t, time.Minute, "ClickHouse to answer", func() bool { return conn.Ping(ctx) == nil })

	want := make([]uint64, b.next)
	for i := range b.requests {
		r := &b.requests[i]
		n := r.from
		for _, rs := range b.traces(r.from, r.to).ResourceSpans().All() {
			for _, ss := range rs.ScopeSpans().All() {
				for _, s := range ss.Spans().All() {
					want[n] = hashOf(textOf(rs, ss, s))
					n++
				}
			}
		}
	}
	rows, err := conn.Query(ctx, "SELECT reinterpretAsUInt64(reverse(unhex(SpanId))), halfMD5("+rowSQL+") FROM otel_traces")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	counts := make([]uint8, b.next)
	var foreign uint64
	var damaged []uint64
	for rows.Next() {
		var id, hash uint64
		if err := rows.Scan(&id, &hash); err != nil {
			t.Fatal(err)
		}
		stored++
		n := id & 0xffffffff
		if id>>32 != uint64(b.seed) || n >= b.next {
			foreign++
			continue
		}
		counts[n]++
		if hash != want[n] {
			damaged = append(damaged, n)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if foreign > 0 {
		t.Errorf("%d stored spans were never sent", foreign)
	}
	b.reportDamage(ctx, t, conn, damaged)
	b.reportCounts(ctx, t, conn, counts)
	for said, n := range b.wrong {
		t.Errorf("%d answers that no sender may get: %s", n, said)
	}
	return stored
}

// shown is how much is said of each kind of fault.
const shown = 5

func (b *book) reportDamage(ctx context.Context, t *testing.T, conn driver.Conn, damaged []uint64) {
	t.Helper()
	if len(damaged) == 0 {
		return
	}
	t.Errorf("%d stored spans are not as they were sent", len(damaged))
	for _, n := range damaged[:min(len(damaged), shown)] {
		var is string
		if err := conn.QueryRow(ctx, "SELECT "+rowSQL+" FROM otel_traces WHERE SpanId = ?", b.spanID(n).String()).Scan(&is); err != nil {
			t.Fatal(err)
		}
		// A span has its resource and scope whatever request it came in.
		rs := b.traces(n, n+1).ResourceSpans().At(0)
		ss := rs.ScopeSpans().At(0)
		want := strings.Split(textOf(rs, ss, ss.Spans().At(0)), fieldEnd)
		for i, got := range strings.Split(is, fieldEnd) {
			if i >= len(want) || got != want[i] {
				t.Errorf("span %d, column %d of those compared: %.200q is stored, %.200q was sent", n, i+1, got, want[min(i, len(want)-1)])
			}
		}
	}
}

func (b *book) reportCounts(ctx context.Context, t *testing.T, conn driver.Conn, counts []uint8) {
	t.Helper()
	var missing, doubled, torn int // requests
	var spansMissing, spansDoubled uint64
	for i := range b.requests {
		r := &b.requests[i]
		var none, more uint64
		for _, c := range counts[r.from:r.to] {
			switch {
			case c == 0:
				none++
			case c > 1:
				more++
			}
		}
		if more > 0 {
			spansDoubled += more
			if doubled++; doubled <= shown {
				t.Errorf("%d spans of a request that was %s are stored more than once: %s; %s", more, r.outcome, r, b.whereIs(ctx, t, conn, r))
			}
		}
		if none > 0 && r.outcome == acknowledged {
			spansMissing += none
			if missing++; missing <= shown {
				t.Errorf("%d spans of a request that was acknowledged are missing: %s; %s", none, r, b.whereIs(ctx, t, conn, r))
			}
		}
		if none > 0 && none < r.to-r.from {
			torn++
		}
	}
	if missing > 0 {
		t.Errorf("%d acknowledged spans of %d requests are missing", spansMissing, missing)
	}
	if doubled > 0 {
		t.Errorf("%d spans of %d requests are stored more than once", spansDoubled, doubled)
	}
	if torn > 0 {
		t.Errorf("%d requests are stored in part", torn)
	}
}

// whereIs says in which parts a request's spans are, and when they came: one time for each insert.
func (b *book) whereIs(ctx context.Context, t *testing.T, conn driver.Conn, r *request) string {
	t.Helper()
	rows, err := conn.Query(ctx, "SELECT concat(_part, ' ', toString(IngestTime), ' ', toString(count())) FROM otel_traces WHERE reinterpretAsUInt64(reverse(unhex(SpanId))) BETWEEN ? AND ? GROUP BY _part, IngestTime ORDER BY IngestTime",
		uint64(b.seed)<<32|r.from, uint64(b.seed)<<32|(r.to-1))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	var list []string
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			t.Fatal(err)
		}
		list = append(list, text)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("stored are %q", list)
}

func (o outcome) String() string { return [...]string{"unanswered", "refused", "acknowledged"}[o] }
