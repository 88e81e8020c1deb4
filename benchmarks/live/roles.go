package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/whosehop/whosehop/benchmarks/process"
	"github.com/whosehop/whosehop/benchmarks/store"
)

// roles are a collector and an analyzer with default settings, and the ClickHouse that they work on.
type roles struct {
	store               *store.Store
	grpc, health        string // addresses: the collector's, the analyzer's
	collector, analyzer *process.Child
	measured            [3]*process.Process // by the order of processNames
}

var processNames = [3]string{"collector", "analyzer", "ClickHouse"}

// startRoles returns when the collector takes spans and the analyzer judges.
func startRoles(ctx context.Context, o *options, s *store.Store, dir string) (started *roles, err error) {
	r := &roles{store: s}
	defer func() {
		if err != nil {
			r.stop()
		}
	}()
	if r.grpc, err = process.FreeAddress(); err != nil {
		return nil, err
	}
	if r.health, err = process.FreeAddress(); err != nil {
		return nil, err
	}
	if r.collector, err = process.Start(ctx, nil, o.whosehop, "collector", "--storage-dsn", s.DSN("whosehop"), "--collector-grpc", r.grpc,
		"--collector-http", "127.0.0.1:0", "--collector-health", "127.0.0.1:0", "--collector-spool-dir", filepath.Join(dir, "spool")); err != nil {
		return nil, err
	}
	if err := process.Await(ctx, r.grpc); err != nil {
		return nil, fmt.Errorf("%w: %s", err, r.collector.Said())
	}
	if r.analyzer, err = process.Start(ctx, nil, o.whosehop, "analyzer", "--storage-dsn", s.DSN("whosehop"), "--analyzer-health", r.health); err != nil {
		return nil, err
	}
	if err := r.awaitReady(ctx); err != nil {
		return nil, fmt.Errorf("%w: %s", err, r.analyzer.Said())
	}
	for i, pid := range []int{r.collector.PID(), r.analyzer.PID(), s.PID()} {
		if r.measured[i], err = process.Measure(pid); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (r *roles) stop() {
	for _, child := range []*process.Child{r.analyzer, r.collector} {
		if child != nil {
			child.Stop()
		}
	}
}

// said is err with the last that the programs have said.
func (r *roles) said(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w\ncollector: %s\nanalyzer: %s", err, r.collector.Said(), r.analyzer.Said())
}

func (r *roles) get(ctx context.Context, path string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.health+path, nil)
	if err != nil {
		return nil, err
	}
	return http.DefaultClient.Do(request)
}

func (r *roles) awaitReady(ctx context.Context) error {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
		if answer, err := r.get(ctx, "/readyz"); err == nil {
			_ = answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return nil
			}
		}
	}
	return errors.Join(ctx.Err(), errors.New("the analyzer is not ready"))
}

// metrics are the analyzer's, those of one name added up.
func (r *roles) metrics(ctx context.Context) (map[string]float64, error) {
	answer, err := r.get(ctx, "/metrics")
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	all := make(map[string]float64)
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() {
		at := strings.LastIndexByte(lines.Text(), ' ')
		if at < 0 || strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		value, err := strconv.ParseFloat(lines.Text()[at+1:], 64)
		if err != nil {
			return nil, fmt.Errorf("metrics: %q: %w", lines.Text(), err)
		}
		name, _, _ := strings.Cut(lines.Text()[:at], "{")
		all[name] += value
	}
	return all, lines.Err()
}

// metric is one of the analyzer's metrics; that it is not there is an error.
func metric(all map[string]float64, name string) (float64, error) {
	value, ok := all[name]
	if !ok {
		return 0, fmt.Errorf("the analyzer has no metric %s", name)
	}
	return value, nil
}

// sample is what was seen at one moment, the processes by the order of processNames.
type sample struct {
	lagSeconds, backlog float64
	mb                  [3]float64
	cpu                 [3]time.Duration // until then
}

func (r *roles) sample(ctx context.Context) (s sample, err error) {
	all, err := r.metrics(ctx)
	if err != nil {
		return s, err
	}
	if s.lagSeconds, err = metric(all, "whosehop_analyzer_lag_seconds"); err != nil {
		return s, err
	}
	if s.backlog, err = metric(all, "whosehop_analyzer_backlog_traces"); err != nil {
		return s, err
	}
	for i, p := range r.measured {
		if s.mb[i], err = p.MB(); err != nil {
			return s, err
		}
		if s.cpu[i], err = p.CPU(); err != nil {
			return s, err
		}
	}
	return s, nil
}

// watch takes a sample every few seconds, until ctx ends.
func (r *roles) watch(ctx context.Context) (all []sample, err error) {
	const every = 5 * time.Second
	ticks := time.NewTicker(every)
	defer ticks.Stop()
	var before sample
	for began := time.Now(); ; {
		select {
		case <-ctx.Done():
			return all, nil
		case <-ticks.C:
		}
		s, err := r.sample(ctx)
		if ctx.Err() != nil {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		all = append(all, s)
		fmt.Fprintf(os.Stderr, "%4.0f s: %.2f s behind, %.0f traces due", time.Since(began).Seconds(), s.lagSeconds, s.backlog)
		for i, name := range processNames {
			fmt.Fprintf(os.Stderr, "; %s %.0f MB, %.0f %% CPU", name, s.mb[i], 100*(s.cpu[i]-before.cpu[i]).Seconds()/every.Seconds())
		}
		fmt.Fprintln(os.Stderr)
		before = s
	}
}
