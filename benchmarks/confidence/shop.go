package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"time"

	"github.com/whosehop/whosehop/verdict"
)

// fault is one of the shop's, and who should be blamed for it.
type fault struct {
	Name   string `json:"name"`
	Expect struct {
		Symptom     verdict.Symptom `json:"symptom"`
		Sites       []verdict.Site  `json:"sites"`
		Accountable string          `json:"accountable"`
	} `json:"expect"`
}

func (f *fault) right(s *verdict.Share) bool {
	return s.Accountable == f.Expect.Accountable && slices.ContainsFunc(f.Expect.Sites, func(want verdict.Site) bool {
		return s.Site.Kind == want.Kind && (want.Service == "" || s.Site.Service == want.Service) && (want.Peer == "" || s.Site.Peer == want.Peer) &&
			(want.Caller == "" || s.Site.Caller == want.Caller) && (want.Callee == "" || s.Site.Callee == want.Callee) && s.Site.Phase == want.Phase
	})
}

// shop runs whosehop and the shop with every fault, and takes the verdicts on what began meanwhile.
func shop(bin string) ([]stated, error) {
	program := filepath.Join(filepath.Dir(bin), "shop")
	text, err := exec.CommandContext(context.Background(), program, "faults", "-o", "json").Output()
	if err != nil {
		return nil, fmt.Errorf("list the shop's faults: %w", err)
	}
	var faults []fault
	if err := json.Unmarshal(text, &faults); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "confidence-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	otlp, web, stop, err := up(bin, dir)
	if err != nil {
		return nil, err
	}
	defer stop()
	run := func(args ...string) error {
		return exec.CommandContext(context.Background(), program, append([]string{"run", "--otlp", "http://" + otlp}, args...)...).Run()
	}
	if err := run("--rate", "10", "--for", "8s"); err != nil {
		return nil, fmt.Errorf("run the healthy shop: %w", err)
	}
	time.Sleep(10 * time.Second) // until it is known what is normal
	var list []stated
	for i := range faults {
		from := time.Now()
		if err := run("--rate", "12", "--for", "5s", "--fault", faults[i].Name); err != nil {
			return nil, fmt.Errorf("run the shop with %s: %w", faults[i].Name, err)
		}
		time.Sleep(8 * time.Second) // until all is judged
		of, err := verdictsSince(web, from)
		if err != nil {
			return nil, err
		}
		for k := range of {
			if len(of[k].Shares) > 0 {
				list = append(list, stated{of[k].Shares[0].Confidence, faults[i].right(&of[k].Shares[0])})
			}
		}
	}
	return list, nil
}

var (
	otlpAddress = regexp.MustCompile(`OTLP/gRPC\s+(\S+)`)
	webAddress  = regexp.MustCompile(`web, REST\s+(\S+)/`)
)

// up starts everything on free ports.
func up(bin, dir string) (otlp, web string, stop func(), err error) {
	cmd := exec.CommandContext(context.Background(), bin, "up", "--storage-dir", dir, "--collector-grpc", ":0", "--collector-http", ":0",
		"--query-http", ":0", "--query-grpc", ":0", "--analyzer-quiet", "2s")
	out, err := cmd.StderrPipe()
	if err != nil {
		return "", "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", "", nil, fmt.Errorf("start whosehop: %w", err)
	}
	stop = func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if at := otlpAddress.FindStringSubmatch(lines.Text()); at != nil {
			otlp = at[1]
		}
		if at := webAddress.FindStringSubmatch(lines.Text()); at != nil {
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return otlp, at[1], stop, nil
		}
	}
	stop()
	return "", "", nil, errors.New("whosehop did not start")
}

func verdictsSince(web string, from time.Time) ([]verdict.Verdict, error) {
	var page struct {
		Verdicts []struct {
			TraceID string `json:"traceId"`
		} `json:"verdicts"`
	}
	if err := get(fmt.Sprintf("%s/api/v1/verdicts?from=%d&pageSize=500", web, from.UnixNano()), &page); err != nil {
		return nil, err
	}
	list := make([]verdict.Verdict, len(page.Verdicts))
	for i, v := range page.Verdicts {
		if err := get(web+"/api/v1/verdicts/"+v.TraceID, &list[i]); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func get(url string, into any) error {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	return json.NewDecoder(response.Body).Decode(into)
}
