package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/whosehop/whosehop/storage/server"
	"github.com/whosehop/whosehop/verdict"
)

// TestOwnersInTime: owners are applied to a running server and count at once, a trace is of whoever owned its hops then, and
// a hand-over that is written down later is heeded when the past is judged again.
func TestOwnersInTime(t *testing.T) {
	ch, err := server.Start(t.Context(), server.Config{Dir: t.TempDir(), MemoryBytesMax: 2 << 30}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ch.Stop(context.Background()) })
	owners := filepath.Join(t.TempDir(), "owners.yaml")
	write := func(services string) {
		t.Helper()
		if err := os.WriteFile(owners, []byte("services:\n"+services), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("  - {name: victim, owner: team-first}\n")
	u := startUp(t, t.TempDir(), "--storage-dsn", ch.DSN(), "--ownership-file", owners)
	_, other := startRole(t, addresses["http"], "query", "--storage-dsn", ch.DSN(), "--query-http", ":0", "--query-grpc", ":0")

	now, week := time.Now(), 7*24*time.Hour
	next := uint64(0)
	judged := func(at time.Time, owner string) (traceID string) {
		t.Helper()
		next++
		body, id := failingTraceAt(next, at)
		response, err := http.Post(u.otlpHTTP+"/v1/traces", "application/x-protobuf", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		verdictSays(t, u, id, owner)
		return id
	}
	judged(now, "team-first")

	// Another owner, and no restart.
	write("  - {name: victim, owner: team-second, runbook: https://wiki.example/victim}\n")
	if said := command(t, 0, "owners", "apply", owners, "--dry-run", "--server", u.http); !strings.Contains(said, "a dry run") || !strings.Contains(said, "service victim: team-first until ") {
		t.Error(said)
	}
	judged(time.Now(), "team-first")
	if said := command(t, 0, "owners", "apply", owners, "--server", u.http); !strings.Contains(said, "0 added, 0 ended, 1 changed") || !strings.Contains(said, ", team-second since") {
		t.Error(said)
	}
	judged(time.Now(), "team-second")
	lastWeek := judged(now.Add(-week), "team-first")
	waitUntil(t, "another server knows", func() bool {
		return strings.Contains(ask(t, other+"/api/v1/owners?owner=team-second"), `"name":"victim"`)
	})
	if state := ask(t, other+"/readyz"); !strings.Contains(state, "owners: 2 records in 1 sets") {
		t.Error(state)
	}

	// What is wrong is said, and nothing is applied.
	write("  - {name: victim, owner: team-third, colour: red}\n  - {owner: team-third}\n")
	if said := command(t, 1, "owners", "apply", owners, "--server", u.http); !strings.Contains(said, "nothing is applied") || !strings.Contains(said, "owners.yaml:3") {
		t.Error(said)
	}
	if said := command(t, 0, "owners", "apply", owners, "--skip-broken", "--server", u.http); !strings.Contains(said, "0 changed, 1 as before") {
		t.Error(said)
	}
	judged(time.Now(), "team-second")

	// It was somebody else's last week, as is known now.
	handover := now.Add(-3 * 24 * time.Hour).UTC().Truncate(time.Second).Format(time.RFC3339)
	write(fmt.Sprintf("  - {name: victim, owner: team-then, until: %s}\n  - {name: victim, owner: team-second, from: %s}\n", handover, handover))
	if said := command(t, 0, "owners", "apply", owners, "--server", u.http); !strings.Contains(said, "service victim: team-then until ") {
		t.Error(said)
	}
	verdictSays(t, u, lastWeek, "team-first") // it was judged before
	span := func(d time.Duration) string { return now.Add(d).UTC().Format(time.RFC3339) }
	command(t, 0, "analyze", "--storage-dsn", ch.DSN(), "--from", span(-week-time.Hour), "--to", span(-week+time.Hour))
	verdictSays(t, u, lastWeek, "team-then")
	if said := command(t, 0, "owners", "handovers", "--server", u.http); strings.Count(said, "\n") != 1 || !strings.Contains(said, ", team-second since") {
		t.Error(said)
	}
}

// verdictSays waits until the stored verdict of a trace names an owner.
func verdictSays(t *testing.T, u *up, id, owner string) {
	t.Helper()
	last := ""
	for deadline := time.Now().Add(40 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		var v verdict.Verdict
		if u.get(t, "/api/v1/verdicts/"+id, &v) == http.StatusOK && len(v.Shares) == 1 {
			if last = v.Shares[0].Owner; last == owner && !v.Provisional {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("the verdict on %s names %q, want %s", id, last, owner)
		}
	}
}

// whosehop runs a command to its end, and gives all that it says.
func command(t *testing.T, code int, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "whosehop"), args...)
	out, _ := cmd.CombinedOutput()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != code {
		t.Errorf("whosehop %v ended with %v, want %d: %s", args, cmd.ProcessState, code, out)
	}
	return string(out)
}

// ask gives what a server answers.
func ask(t *testing.T, address string) string {
	t.Helper()
	response, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
