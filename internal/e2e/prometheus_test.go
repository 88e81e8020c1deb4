package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestPrometheusReadsIt: Prometheus itself scrapes a whosehop and evaluates the rules that come with it.
func TestPrometheusReadsIt(t *testing.T) {
	program, err := exec.LookPath("prometheus")
	if err != nil {
		t.Fatal("Prometheus is missing: run deploy/testdeps.sh")
	}
	u := startUp(t, t.TempDir())
	at := startPrometheus(t, program, strings.TrimPrefix(u.http, "http://"))
	ask := func(expression string) []sample { return query(t, at, expression) }

	waitUntil(t, "whosehop is up", func() bool { got := ask(`up{job="whosehop"}`); return len(got) == 1 && got[0].number(t) == 1 })
	// A counter begins with the first that it counts: rates see what comes after it.
	for n := uint64(1); ; n++ {
		if n > 600 {
			t.Fatal("no blame in Prometheus after a minute")
		}
		body, _ := failingTrace(n)
		if code := u.post(t, body); code != http.StatusOK {
			t.Fatalf("a trace is answered with %d", code)
		}
		if got := ask(`sum by (owner, service) (rate(whosehop_blame_requests_total{symptom="error"}[1m])) > 0`); len(got) == 1 {
			if m := got[0].Metric; m["owner"] != "unowned" || m["service"] != "victim" {
				t.Errorf("to blame is %v", m)
			}
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if got := ask("whosehop:error_budget:ratio"); len(got) != 1 || got[0].number(t) != 0.001 {
		t.Errorf("the budget is %v", got)
	}
	// What is called comes a minute later.
	deadline := time.Now().Add(3 * time.Minute)
	for len(ask(`traces_service_graph_request_total{client="user", server="victim", connection_type="virtual_node"} > 0`)) == 0 {
		if time.Now().After(deadline) {
			t.Fatal("no service graph in Prometheus after three minutes")
		}
		time.Sleep(500 * time.Millisecond)
	}
	for _, expression := range []string{
		`histogram_quantile(0.9, traces_spanmetrics_latency_bucket{service="victim", span_kind="SPAN_KIND_SERVER", status_code="STATUS_CODE_ERROR"}) <= 0.001`,
		`traces_service_graph_request_failed_total{server="victim"} == traces_service_graph_request_total`, `whosehop_requests_total{service="victim"} > 0`,
	} {
		if got := ask(expression); len(got) != 1 {
			t.Errorf("%s: %v", expression, got)
		}
	}
	var rules struct {
		Data struct {
			Groups []struct {
				Name  string
				Rules []struct{ Name, Health, LastError string }
			}
		}
	}
	getJSON(t, at+"/api/v1/rules", &rules)
	evaluated := 0
	for _, g := range rules.Data.Groups {
		for _, r := range g.Rules {
			if r.Health != "ok" {
				t.Errorf("the rule %s is %s: %s", r.Name, r.Health, r.LastError)
			}
			evaluated++
		}
	}
	if evaluated < 20 {
		t.Errorf("%d rules were evaluated", evaluated)
	}
	for _, a := range ask(`ALERTS{alertstate="firing", alertname=~"Whosehop.*"}`) {
		t.Errorf("it fires: %v", a.Metric)
	}
}

// sample is one of an answer of Prometheus.
type sample struct {
	Metric map[string]string
	Value  [2]any
}

func (s *sample) number(t *testing.T) (n float64) {
	t.Helper()
	if _, err := fmt.Sscan(fmt.Sprint(s.Value[1]), &n); err != nil {
		t.Fatal(err)
	}
	return n
}

func query(t *testing.T, at, expression string) []sample {
	t.Helper()
	var answer struct {
		Status, Error string
		Data          struct{ Result []sample }
	}
	getJSON(t, at+"/api/v1/query?query="+url.QueryEscape(expression), &answer)
	if answer.Status != "success" {
		t.Fatalf("%s: %s", expression, answer.Error)
	}
	return answer.Data.Result
}

func getJSON(t *testing.T, address string, into any) {
	t.Helper()
	response, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if err := json.NewDecoder(response.Body).Decode(into); err != nil {
		t.Fatalf("%s: %v", address, err)
	}
}

// startPrometheus starts it with the example configuration, for a whosehop at an address, in a hurry.
func startPrometheus(t *testing.T, program, target string) (at string) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"prometheus.yml", "rules.yml"} {
		text, err := os.ReadFile(filepath.Join("..", "..", "deploy", "prometheus", name))
		if err != nil {
			t.Fatal(err)
		}
		changed := strings.ReplaceAll(string(text), "127.0.0.1:8080", target)
		changed = regexp.MustCompile(`(scrape_interval|evaluation_interval|    interval): \d+s`).ReplaceAllString(changed, "$1: 1s")
		if changed == string(text) {
			t.Fatalf("%s is not as this test thinks", name)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	var said strings.Builder
	cmd := exec.Command(program, "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address)
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(said.String())
		}
	})
	at = "http://" + address
	waitUntil(t, "Prometheus is ready", func() bool {
		response, err := http.Get(at + "/-/ready")
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	return at
}
