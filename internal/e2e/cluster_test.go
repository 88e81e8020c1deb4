package e2e

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/whosehop/whosehop/internal/clickhousetest"
	"github.com/whosehop/whosehop/storage"
)

// TestRolesOnACluster runs the roles on three shards, one of which is away for some seconds of the load. Nothing that was
// acknowledged is missing afterwards, all is stored and judged once; meanwhile what is there is answered, and what is
// missing is said.
func TestRolesOnACluster(t *testing.T) {
	dsn, network := clickhousetest.Cluster(t)
	flags := []string{"--storage-dsn", dsn, "--storage-cluster", clickhousetest.ClusterName}
	startRoleHere := func(what string, args ...string) string {
		_, address := startRole(t, addresses[what], append(args, flags...)...)
		return address
	}
	otlp := startRoleHere("otlp", "collector", "--storage-dir", t.TempDir(), "--collector-http", ":0", "--collector-grpc", ":0", "--collector-health", ":0")
	for range 2 {
		_, _ = startRole(t, healthAt, append([]string{"analyzer", "--analyzer-quiet", "1s", "--analyzer-health", ":0"}, flags...)...)
	}
	web := startRoleHere("http", "query", "--query-http", ":0", "--query-grpc", ":0")

	s := &sender{}
	s.url.Store(&otlp)
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() { s.run(ctx) })
	}
	count := func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.acked)
	}
	waitUntil(t, "requests are acknowledged", func() bool { return count() > 100 })
	waitUntil(t, "some are judged", func() bool { listed, _ := listVerdicts(t, web); return listed > 0 })
	network[1].Vanish()
	before := count()
	waitUntil(t, "requests are acknowledged while a shard is away", func() bool { return count() > before+100 })
	listed, missing := listVerdicts(t, web)
	if listed == 0 || len(missing) != 1 || !strings.HasPrefix(missing[0], "shard 2 (") {
		t.Errorf("with a shard away %d verdicts are listed, and %v is missing", listed, missing)
	}
	if err := network[1].Heal(); err != nil {
		t.Fatal(err)
	}
	cancel()
	group.Wait()

	db, err := storage.OpenCluster(t.Context(), dsn, clickhousetest.ClusterName, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	number := counter(t, db)
	acked := s.acked
	waitUntil(t, "what was acknowledged is stored", func() bool {
		return number("SELECT count() FROM otel_traces WHERE TraceId IN (?)", acked) == 2*uint64(len(acked))
	})
	waitUntil(t, "every trace has one verdict, on all its spans", func() bool {
		return number("SELECT uniqExact(TraceId) FROM otel_traces") == number("SELECT count() FROM verdicts FINAL WHERE length(Entries.Service) = 1 AND SpanRows = 2")
	})
	if n := number("SELECT count() FROM otel_traces WHERE TraceId IN (?)", acked); n != 2*uint64(len(acked)) {
		t.Errorf("%d spans are stored of %d that were acknowledged", n, 2*len(acked))
	}
	if n := number("SELECT count() FROM (SELECT TraceId, uniqExact(_shard_num) AS shards FROM otel_traces GROUP BY TraceId HAVING shards > 1)"); n != 0 {
		t.Errorf("%d traces lie on several shards", n)
	}
	if _, missing := listVerdicts(t, web); len(missing) != 0 {
		t.Errorf("%v is missing", missing)
	}
	for _, id := range acked[:10] {
		response, err := http.Get(web + "/api/v1/verdicts/" + id)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Errorf("the verdict of %s: %d", id, response.StatusCode)
		}
	}
}

// listVerdicts asks for verdicts: how many there are, and which shards are missing.
func listVerdicts(t *testing.T, web string) (n int, missing []string) {
	t.Helper()
	response, err := http.Get(web + "/api/v1/verdicts?pageSize=500")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Verdicts []struct{}
		Missing  []string
	}
	if err := json.Unmarshal(body, &answer); err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%d %s, %v", response.StatusCode, body, err)
	}
	return len(answer.Verdicts), answer.Missing
}

func waitUntil(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}
