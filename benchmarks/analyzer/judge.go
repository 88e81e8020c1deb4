package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/whosehop/whosehop/benchmarks/process"
	"github.com/whosehop/whosehop/benchmarks/store"
)

// measured is the figures of one round.
type measured struct {
	wall           time.Duration
	cpu, engineCPU time.Duration
	peakMB         float64
	said           summary
	verdicts       uint64 // traces with a symptom
	missing        uint64 // failing traces without
	api            fetched
}

// parts are the stages of which whosehop may say what they took, the seconds of all workers added up.
var parts = []string{"select", "read", "engine", "write"}

// summary is what whosehop says at the end. What it leaves out is not known.
type summary struct {
	Spans    *float64           `json:"spans"`
	Traces   *float64           `json:"traces"`
	Verdicts *float64           `json:"verdicts"`
	Seconds  *float64           `json:"seconds"`
	Time     map[string]float64 `json:"time"`
}

// known is NaN of what is not.
func known(v *float64) float64 {
	if v == nil {
		return math.NaN()
	}
	return *v
}

func (s *summary) seconds(part string) float64 {
	if v, ok := s.Time[part]; ok {
		return v
	}
	return math.NaN()
}

// measure judges the history, and fetches a sample of it.
func measure(ctx context.Context, o *options, s *store.Store, h *history) (m measured, err error) {
	if err := forget(ctx, s); err != nil {
		return m, err
	}
	if _, err := s.AwaitQuiet(ctx, "whosehop"); err != nil {
		return m, err
	}
	if err := m.judge(ctx, o.whosehop, s, h); err != nil {
		return m, err
	}
	if err := m.check(ctx, s); err != nil {
		return m, err
	}
	if _, err := s.AwaitQuiet(ctx, "whosehop"); err != nil {
		return m, err
	}
	if m.api, err = fetch(ctx, s, h, o.sample); err != nil {
		return m, err
	}
	if uint64(m.api.spans)*h.traces != uint64(m.api.traces)*h.spans { // all are of one size
		return m, fmt.Errorf("%d traces with %d spans were fetched", m.api.traces, m.api.spans)
	}
	return m, nil
}

// forget makes all tables but the spans' anew. Emptied tables would know the tokens of what was inserted before, and
// not take it again.
func forget(ctx context.Context, s *store.Store) error {
	tables, err := s.Tables(ctx, "whosehop")
	if err != nil {
		return err
	}
	for _, table := range tables {
		if table == "otel_traces" || table == "schema_migrations" {
			continue
		}
		var create string
		if err := s.Conn.QueryRow(ctx, "SELECT create_table_query FROM system.tables WHERE database = 'whosehop' AND name = ?", table).Scan(&create); err != nil {
			return err
		}
		if err := s.Run(ctx, "DROP TABLE whosehop."+table+" SYNC;\n"+create); err != nil {
			return err
		}
	}
	return nil
}

// judge runs the program over the history. Its peak is asked for while it runs: what the kernel says of an ended child
// counts the memory of the process that started it.
func (m *measured) judge(ctx context.Context, program string, s *store.Store, h *history) error {
	cmd := exec.CommandContext(ctx, program, "analyze", "--storage-dsn", s.DSN("whosehop"),
		"--from", h.from.Format(time.RFC3339), "--to", h.to.Format(time.RFC3339), "-o", "json")
	var said, complained bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, io.MultiWriter(os.Stderr, &complained)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	clickHouse, err := process.Measure(s.PID())
	if err != nil {
		return err
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	m.peakMB, err = peak(cmd.Process.Pid, ended)
	m.wall = time.Since(began)
	if err != nil {
		return fmt.Errorf("whosehop analyze: %w: %s", err, tail(complained.Bytes()))
	}
	if m.engineCPU, err = clickHouse.CPU(); err != nil {
		return err
	}
	m.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if m.peakMB == 0 {
		return errors.New("whosehop analyze ended before its memory could be measured")
	}
	if err := json.Unmarshal(said.Bytes(), &m.said); err != nil {
		return fmt.Errorf("what whosehop analyze says: %w: %s", err, tail(said.Bytes()))
	}
	return nil
}

// peak follows a process until it ends.
func peak(pid int, ended <-chan error) (mb float64, err error) {
	p, err := process.Measure(pid)
	for {
		if err == nil {
			if now, err := p.PeakMB(); err == nil { // else it has just ended
				mb = now
			}
		}
		select {
		case err := <-ended:
			return mb, err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// tail is the end of what a program said.
func tail(text []byte) []byte {
	text = bytes.TrimSpace(text)
	return text[max(0, len(text)-1000):]
}

// check counts the verdicts and holds them against the failing traces.
func (m *measured) check(ctx context.Context, s *store.Store) error {
	const verdicts = "whosehop.verdicts FINAL WHERE notEmpty(Entries.Service)"
	if err := s.Conn.QueryRow(ctx, "SELECT count() FROM "+verdicts).Scan(&m.verdicts); err != nil {
		return err
	}
	return s.Conn.QueryRow(ctx, "SELECT uniqExact(TraceId) FROM whosehop.otel_traces WHERE StatusCode = 'Error' AND TraceId NOT IN (SELECT TraceId FROM "+verdicts+")").Scan(&m.missing)
}
