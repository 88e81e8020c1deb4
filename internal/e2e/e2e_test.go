// Package e2e tries the programs as their users do: real processes, a real ClickHouse, real clients.
package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
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

	"github.com/whosehop/whosehop/internal/clickhousetest"
	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/storage/server"
	"github.com/whosehop/whosehop/verdict"
)

// bin is where TestMain builds the programs.
var bin string

func TestMain(m *testing.M) {
	if server.IsChild(os.Args) {
		os.Exit(server.ChildMain(os.Args))
	}
	dir, err := os.MkdirTemp("", "whosehop-e2e-")
	if err == nil {
		bin = dir
		build := exec.Command("go", "build", "-o", dir+"/", "../../cmd/whosehop", "../../cmd/shop")
		build.Stderr = os.Stderr
		err = build.Run()
	}
	code := 1
	if err != nil {
		fmt.Fprintln(os.Stderr, "build the programs:", err)
	} else {
		code = m.Run()
	}
	if err := clickhousetest.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stop ClickHouse:", err)
		code = max(code, 1)
	}
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// up is a running `whosehop up`.
type up struct {
	cmd                      *exec.Cmd
	dir                      string
	otlpGRPC, otlpHTTP, http string
	grpc                     string // of the query server
	exited                   chan struct{}
	said                     string // its last words
	mayEnd                   bool
}

var addresses = map[string]*regexp.Regexp{
	"grpc": regexp.MustCompile(`OTLP/gRPC\s+(\S+)`), "otlp": regexp.MustCompile(`OTLP/HTTP\s+(\S+)/v1/traces`), "http": regexp.MustCompile(`web, REST\s+(\S+)/`),
	"query": regexp.MustCompile(`(?m)^\s+gRPC\s+(\S+)`),
}

// startUp starts everything on one machine, on free ports, and waits until it is ready.
func startUp(t *testing.T, dir string, flags ...string) *up {
	t.Helper()
	args := append([]string{
		"up", "--storage-dir", dir, "--storage-memory-bytes-max", "2GiB", "--collector-grpc", ":0", "--collector-http", ":0",
		"--query-http", ":0", "--query-grpc", ":0", "--analyzer-quiet", "2s",
	}, flags...)
	u := &up{cmd: exec.Command(filepath.Join(bin, "whosehop"), args...), dir: dir, exited: make(chan struct{})}
	pipe, err := u.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := u.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make(chan string, 1)
	go func() {
		var head strings.Builder
		lines := bufio.NewScanner(pipe)
		for sent := false; lines.Scan(); {
			head.WriteString(lines.Text() + "\n")
			if !sent && addresses["query"].MatchString(head.String()) {
				ready <- head.String()
				sent = true
			}
		}
		_ = u.cmd.Wait()
		said := head.String()
		u.said = said[max(0, len(said)-4000):]
		close(u.exited)
	}()
	t.Cleanup(func() { u.stop(t) })
	select {
	case head := <-ready:
		find := func(name string) string { return addresses[name].FindStringSubmatch(head)[1] }
		u.otlpGRPC, u.otlpHTTP, u.http, u.grpc = find("grpc"), find("otlp"), find("http"), find("query")
	case <-time.After(60 * time.Second):
		t.Fatal("whosehop up was not ready within 60 s")
	}
	return u
}

func (u *up) stop(t *testing.T) {
	t.Helper()
	select {
	case <-u.exited:
		if !u.mayEnd {
			t.Errorf("whosehop up ended by itself: %s", u.said)
		}
	default:
	}
	_ = u.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-u.exited:
	case <-time.After(40 * time.Second):
		_ = u.cmd.Process.Kill()
		t.Error("whosehop up did not end within 40 s of SIGTERM")
	}
}

// get asks the REST interface and decodes the answer.
func (u *up) get(t *testing.T, path string, into any) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.http+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode == http.StatusOK && into != nil {
		if err := json.Unmarshal(body, into); err != nil {
			t.Fatalf("%s: %v in %.200s", path, err, body)
		}
	}
	return response.StatusCode
}

var (
	portOf     = regexp.MustCompile(`<tcp_port>(\d+)</tcp_port>`)
	passwordOf = regexp.MustCompile(`<whosehop>\s*<password>([^<]+)</password>`)
)

// dsn is that of the storage that whosehop started.
func (u *up) dsn(t *testing.T) string {
	t.Helper()
	read := func(file string, find *regexp.Regexp) string {
		text, err := os.ReadFile(filepath.Join(u.dir, file))
		if err != nil {
			t.Fatal(err)
		}
		return find.FindStringSubmatch(string(text))[1]
	}
	return fmt.Sprintf("clickhouse://whosehop:%s@127.0.0.1:%s/whosehop", read("users.xml", passwordOf), read("config.xml", portOf))
}

// db is the storage that whosehop started, reached behind its back.
func (u *up) db(t *testing.T) *storage.DB {
	t.Helper()
	db, err := storage.Open(t.Context(), u.dsn(t), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func runShop(t *testing.T, u *up, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "shop"), append([]string{"run", "--otlp", "http://" + u.otlpGRPC}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("shop %v: %v\n%s", args, err, out)
	}
}

type list struct {
	Verdicts []struct {
		TraceID   string `json:"traceId"`
		Service   string `json:"entryService"`
		Operation string `json:"entryOperation"`
	} `json:"verdicts"`
}

type shopFault struct {
	Name   string `json:"name"`
	Expect struct {
		Symptom     verdict.Symptom `json:"symptom"`
		Sites       []verdict.Site  `json:"sites"`
		Accountable string          `json:"accountable"`
		Owner       string          `json:"owner"`
	} `json:"expect"`
}

// right says whether a verdict is what the fault should get; the site's operation does not count.
func (f *shopFault) right(v *verdict.Verdict) bool {
	if v.Symptom != f.Expect.Symptom || len(v.Shares) == 0 {
		return false
	}
	s := v.Shares[0]
	for _, want := range f.Expect.Sites {
		got := s.Site
		got.Operation, got.System = want.Operation, want.System
		if fmt.Sprint(got) == fmt.Sprint(want) && s.Accountable == f.Expect.Accountable && s.Owner == f.Expect.Owner {
			return true
		}
	}
	return false
}

func TestShopFaultsAreBlamedRightly(t *testing.T) {
	owners := filepath.Join(t.TempDir(), "owners.yaml")
	text, err := exec.CommandContext(t.Context(), filepath.Join(bin, "shop"), "owners").Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(owners, text, 0o600); err != nil {
		t.Fatal(err)
	}
	text, err = exec.CommandContext(t.Context(), filepath.Join(bin, "shop"), "faults", "-o", "json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var faults []shopFault
	if err := json.Unmarshal(text, &faults); err != nil || len(faults) < 11 {
		t.Fatalf("%d faults, %v", len(faults), err)
	}
	u := startUp(t, t.TempDir(), "--ownership-file", owners)
	runShop(t, u, "--rate", "10", "--for", "5s") // healthy, to learn from
	var got list
	if u.get(t, "/api/v1/verdicts?since=5m", &got); len(got.Verdicts) != 0 {
		t.Errorf("a healthy shop has %d verdicts: %+v", len(got.Verdicts), got.Verdicts[0])
	}
	time.Sleep(12 * time.Second) // normal is learnt every 10 s
	for _, f := range faults {
		t.Run(f.Name, func(t *testing.T) {
			from := time.Now()
			for seed := range 3 {
				runShop(t, u, "--rate", "12", "--for", "3s", "--fault", f.Name, "--seed", fmt.Sprint(seed+1))
			}
			judgeFault(t, u, &f, from)
			if f.Name == "leaf-error" || f.Name == "slow-answer" {
				var answer struct{ Suspects []verdict.Suspect }
				u.get(t, fmt.Sprintf("/api/v1/rank?from=%d&entry=%s", from.UnixNano(), url.QueryEscape("GET /checkout")), &answer)
				if s := answer.Suspects; len(s) == 0 || s[0].Service != f.Expect.Accountable || s[0].Owner != f.Expect.Owner || len(s[0].Exemplars) == 0 {
					t.Errorf("the first suspect should be %s: %+v", f.Expect.Accountable, s)
				}
			}
		})
	}
	t.Run("two at once", func(t *testing.T) {
		byName := make(map[string]*shopFault)
		for i := range faults {
			byName[faults[i].Name] = &faults[i]
		}
		judgeTwo(t, u, byName["masked-error"], byName["retries-absorbed"], true)
		judgeTwo(t, u, byName["leaf-error"], byName["bad-request"], false)
	})
	services := 0
	var top struct {
		Top []struct{ Name, Owner string }
	}
	u.get(t, "/api/v1/top?by=owner&since=1h", &top)
	for _, o := range top.Top {
		if strings.HasPrefix(o.Name, "team-") {
			services++
		}
	}
	if services < 6 {
		t.Errorf("only %d teams in %+v", services, top)
	}
}

// judgeTwo runs the shop with two faults, which some requests carry both of. Every verdict must name one
// of them or both; where both are blamed for one request they share it evenly. Over all, each must have
// about the half that is its own.
func judgeTwo(t *testing.T, u *up, a, b *shopFault, shared bool) {
	t.Helper()
	from := time.Now()
	runShop(t, u, "--rate", "20", "--for", "6s", "--fault", a.Name, "--fault", b.Name, "--seed", "7")
	deadline := time.Now().Add(25 * time.Second)
	for {
		var page list
		u.get(t, fmt.Sprintf("/api/v1/verdicts?from=%d&pageSize=500", from.UnixNano()), &page)
		right, both, wrong := 0, 0, ""
		weights := make(map[string]float64)
		for _, s := range page.Verdicts {
			var v verdict.Verdict
			if u.get(t, "/api/v1/verdicts/"+s.TraceID, &v) != http.StatusOK {
				continue
			}
			switch {
			case len(v.Shares) == 2 && v.Shares[0].Weight == 0.5 && v.Shares[0].Owner != v.Shares[1].Owner:
				both++
				fallthrough
			case len(v.Shares) == 1 && (a.right(&v) || b.right(&v)):
				right++
				for _, share := range v.Shares {
					weights[share.Owner] += share.Weight
				}
			default:
				wrong = fmt.Sprintf("%s %s %+v", s.TraceID, v.Summary, v.Shares)
			}
		}
		mine, theirs := weights[a.Expect.Owner], weights[b.Expect.Owner]
		if right >= 20 && right*10 >= 9*len(page.Verdicts) && (both >= 3) == shared && mine > theirs/3 && theirs > mine/3 {
			t.Logf("%s and %s: %d of %d verdicts are right, %d name both; %.1f to %.1f", a.Name, b.Name, right, len(page.Verdicts), both, mine, theirs)
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s and %s: %d of %d verdicts are right, %d name both, %.1f to %.1f; the last that is not: %s",
				a.Name, b.Name, right, len(page.Verdicts), both, mine, theirs, wrong)
		}
		time.Sleep(time.Second)
	}
}

// judgeFault waits until nine in ten of the verdicts on requests that began after from are right. The
// rest is what a fault does to bystanders: a process that dies takes other requests along.
func judgeFault(t *testing.T, u *up, f *shopFault, from time.Time) {
	t.Helper()
	const want = 0.9
	deadline := time.Now().Add(25 * time.Second)
	for {
		var page list
		u.get(t, fmt.Sprintf("/api/v1/verdicts?from=%d&pageSize=500", from.UnixNano()), &page)
		right, wrong := 0, ""
		for _, s := range page.Verdicts {
			var v verdict.Verdict
			if u.get(t, "/api/v1/verdicts/"+s.TraceID, &v) != http.StatusOK || !f.right(&v) {
				wrong = fmt.Sprintf("%s %s %+v", s.TraceID, v.Summary, v.Shares)
				continue
			}
			right++
		}
		least := want * float64(len(page.Verdicts))
		if f.Name == "crash" {
			least = 0.6 * float64(len(page.Verdicts))
		}
		if right >= 5 && float64(right) >= least {
			t.Logf("%d of %d verdicts are right", right, len(page.Verdicts))
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d verdicts are right; the last that is not: %s", right, len(page.Verdicts), wrong)
		}
		time.Sleep(time.Second)
	}
}
