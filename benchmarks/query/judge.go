package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// around is how much of what is judged already is judged again: traces of then may have got spans since.
const around = time.Minute

// retention keeps all: the oldest spans of a week that was filled are a week old.
var retention = []string{"--storage-retention-spans", "0", "--storage-retention-verdicts", "0", "--storage-retention-baseline", "0"}

// judge judges what was filled in since the last time, with the program.
func (b *bench) judge(ctx context.Context) error {
	from, to := b.filled.Judged, b.filled.To
	if from.After(b.filled.From) {
		from = from.Add(-around)
	}
	began := time.Now()
	args := append([]string{
		"analyze", "--storage-dsn", b.store.DSN("whosehop"), "--ownership-file", b.owners,
		"--from", from.Format(time.RFC3339), "--to", to.Format(time.RFC3339), "-o", "json",
	}, retention...)
	cmd := exec.CommandContext(ctx, b.whosehop, args...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("whosehop analyze: %w", err)
	}
	var said struct {
		Spans, Traces, Verdicts int64
	}
	if err := json.Unmarshal(out, &said); err != nil {
		return fmt.Errorf("what whosehop analyze says: %w: %.200s", err, out)
	}
	b.filled.Judged = to
	fmt.Fprintf(os.Stderr, "%d spans were looked through and %d traces judged in %s\n", said.Spans, said.Traces, time.Since(began).Round(time.Second))
	return nil
}

// look says what is stored.
func (b *bench) look(ctx context.Context) error {
	var spans, traces, hour uint64
	var bytes uint64
	for _, q := range []struct {
		text string
		into []any
	}{
		{"SELECT count() FROM whosehop.otel_traces", []any{&spans}},
		{"SELECT uniqExact(TraceId) FROM whosehop.verdicts WHERE notEmpty(Entries.Symptom)", []any{&traces}},
		{"SELECT uniqExact(TraceId) FROM whosehop.verdicts WHERE notEmpty(Entries.Symptom) AND FirstIngest >= now() - 3600", []any{&hour}},
		{"SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = 'whosehop'", []any{&bytes}},
	} {
		if err := b.store.Conn.QueryRow(ctx, q.text).Scan(q.into...); err != nil {
			return err
		}
	}
	_, _ = fmt.Fprintf(os.Stdout, "stored: %d spans from %s to %s, %d traces that failed, were degraded or slow, %d of them in the last hour; %.1f GB\n", spans,
		b.filled.From.Format(time.DateTime), b.filled.To.Format(time.DateTime), traces, hour, float64(bytes)/1e9)
	if spans < uint64(b.spans) || traces < uint64(b.failing) {
		return fmt.Errorf("that is less than the %d spans and %d traces that are wanted", b.spans, b.failing)
	}
	return nil
}
