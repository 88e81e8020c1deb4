package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/grpc"

	"github.com/whosehop/whosehop/verdict"
)

// runEnv marks the processes of one run. It is also what makes of the test binary the program.
const runEnv = "SHOP_TEST_RUN"

func TestMain(m *testing.M) {
	if os.Getenv(runEnv) != "" {
		main()
	}
	os.Exit(m.Run())
}

// span is what the tests look at.
type span struct {
	trace, id, parent   string
	service, name, kind string
	attributes          map[string]string
	resource            map[string]string
	failed              bool
	message             string
	events              int
	start, end          time.Time
}

// receiver takes OTLP over gRPC.
type receiver struct {
	ptraceotlp.UnimplementedGRPCServer
	mu    sync.Mutex
	spans []span
}

func startReceiver(t *testing.T) (*receiver, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{}
	server := grpc.NewServer()
	ptraceotlp.RegisterGRPCServer(server, r)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	return r, "http://" + l.Addr().String()
}

func (r *receiver) Export(_ context.Context, request ptraceotlp.ExportRequest) (ptraceotlp.ExportResponse, error) {
	r.take(request.Traces())
	return ptraceotlp.NewExportResponse(), nil
}

func (r *receiver) take(traces ptrace.Traces) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rs := range traces.ResourceSpans().All() {
		resource := make(map[string]string)
		for k, v := range rs.Resource().Attributes().All() {
			resource[k] = v.AsString()
		}
		for _, ss := range rs.ScopeSpans().All() {
			for _, s := range ss.Spans().All() {
				one := span{
					trace: s.TraceID().String(), id: s.SpanID().String(), parent: s.ParentSpanID().String(),
					service: resource["service.name"], name: s.Name(), kind: s.Kind().String(), resource: resource,
					failed: s.Status().Code() == ptrace.StatusCodeError, message: s.Status().Message(), events: s.Events().Len(),
					start: s.StartTimestamp().AsTime(), end: s.EndTimestamp().AsTime(), attributes: make(map[string]string),
				}
				for k, v := range s.Attributes().All() {
					one.attributes[k] = v.AsString()
				}
				r.spans = append(r.spans, one)
			}
		}
	}
}

// byTrace are the spans that came, by their traces.
func (r *receiver) byTrace() map[string][]span {
	r.mu.Lock()
	defer r.mu.Unlock()
	traces := make(map[string][]span)
	for _, s := range r.spans {
		traces[s.trace] = append(traces[s.trace], s)
	}
	return traces
}

// shop is a shop that runs in processes of its own.
type shop struct {
	cmd    *exec.Cmd
	id     string
	url    string
	out    *bufio.Reader
	errOut *bytes.Buffer
}

// startShop returns when the shop is open.
func startShop(t *testing.T, endpoint string, args ...string) *shop {
	t.Helper()
	s := &shop{id: uuid.NewString(), errOut: new(bytes.Buffer)}
	s.cmd = exec.CommandContext(t.Context(), os.Args[0], append([]string{"run", "--otlp", endpoint}, args...)...)
	s.cmd.Env = append(os.Environ(), runEnv+"="+s.id)
	s.cmd.Stderr = s.errOut
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.out = bufio.NewReader(out)
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := s.out.ReadString('\n')
	if err != nil {
		_ = s.cmd.Wait()
		t.Fatalf("the shop said nothing: %v, %s", err, s.errOut)
	}
	s.url, _, _ = strings.Cut(strings.TrimPrefix(line, "the shop is open at "), "/checkout")
	return s
}

// wait returns when the supervisor has ended; then no process may be left.
func (s *shop) wait(t *testing.T) {
	t.Helper()
	if err := s.cmd.Wait(); err != nil {
		t.Fatalf("the shop ended: %v, %s", err, s.errOut)
	}
	if left := s.processes(t); len(left) > 0 {
		t.Fatalf("processes are left: %v", left)
	}
}

// processes are the pids of the run, the supervisor's as well.
func (s *shop) processes(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil || len(files) == 0 {
		t.Fatalf("list the processes: %v", err)
	}
	var pids []string
	for _, file := range files {
		if env, err := os.ReadFile(file); err == nil && bytes.Contains(env, []byte(runEnv+"="+s.id)) {
			pids = append(pids, strings.Split(file, "/")[2])
		}
	}
	return pids
}

// eventually polls, for what has no signal to wait on.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("after 20 s still not: %s", what)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// find is the first span of a trace that is of a service and a kind and in whose name part occurs.
func find(spans []span, service, kind, part string) (span, bool) {
	for _, s := range spans {
		if s.service == service && s.kind == kind && strings.Contains(s.name, part) {
			return s, true
		}
	}
	return span{}, false
}

func TestHealthyShop(t *testing.T) {
	t.Parallel()
	r, endpoint := startReceiver(t)
	shop := startShop(t, endpoint, "--for", "2s", "--rate", "20")
	shop.wait(t)
	owners := make(map[string]string)
	whole := 0
	for _, spans := range r.byTrace() {
		services := make(map[string]bool)
		parents := map[string]bool{"": true}
		for _, s := range spans {
			services[s.service] = true
			owners[s.service] = s.resource["service.owner.name"]
			parents[s.id] = true
			if s.failed {
				t.Errorf("%s %s failed with no fault on: %s", s.service, s.name, s.message)
			}
		}
		for _, s := range spans {
			if !parents[s.parent] {
				t.Errorf("%s %s: its parent is missing", s.service, s.name)
			}
		}
		if len(services) == 8 {
			whole++
		}
		if entry, ok := find(spans, "storefront", "Server", "GET /"); !ok || entry.parent != "" {
			t.Fatalf("a trace does not begin at the storefront: %v", spans)
		}
	}
	if whole < 10 {
		t.Errorf("%d traces cross all eight services, want 10", whole)
	}
	for _, p := range processes() {
		if owner, ok := owners[p.name]; ok == p.plain || owner != p.owner {
			t.Errorf("%s: sends spans: %t, owner %q, want %q", p.name, ok, owner, p.owner)
		}
	}
}

// TestFaults checks that each fault leaves in the spans what an engineer would see of it.
func TestFaults(t *testing.T) {
	shows := map[string]func(spans []span) bool{
		"leaf-error": func(spans []span) bool {
			s, ok := find(spans, "payments", "Server", "")
			_, calls := find(spans, "payments", "Client", "")
			return ok && s.failed && s.events > 0 && s.attributes["http.response.status_code"] == "500" && !calls
		},
		"masked-error": func(spans []span) bool {
			s, ok := find(spans, "recommendations", "Server", "")
			entry, _ := find(spans, "storefront", "Server", "")
			return ok && s.failed && entry.attributes["http.response.status_code"] == "200"
		},
		"retries-absorbed": func(spans []span) bool {
			attempts, bad := 0, 0
			for _, s := range spans {
				if s.service == "shipping" && s.kind == "Server" {
					attempts++
					if s.failed {
						bad++
					}
				}
			}
			entry, _ := find(spans, "storefront", "Server", "")
			return attempts == 3 && bad == 2 && !entry.failed
		},
		"retries-exhausted": func(spans []span) bool {
			bad := 0
			for _, s := range spans {
				if s.service == "shipping" && s.kind == "Server" && s.failed {
					bad++
				}
			}
			entry, _ := find(spans, "storefront", "Server", "")
			return bad == 3 && entry.failed
		},
		"short-timeout": func(spans []span) bool {
			call, ok := find(spans, "checkout", "Client", "Quote")
			served, there := find(spans, "pricing", "Server", "Quote")
			return ok && there && call.attributes["rpc.response.status_code"] == "DEADLINE_EXCEEDED" &&
				call.end.Sub(call.start) < 60*time.Millisecond && served.end.Sub(served.start) >= 80*time.Millisecond
		},
		"slow-callee": func(spans []span) bool {
			call, ok := find(spans, "checkout", "Client", "Reserve")
			served, there := find(spans, "inventory", "Server", "Reserve")
			return ok && there && call.failed && served.end.Sub(served.start) > 2*time.Second
		},
		"slow-answer": func(spans []span) bool {
			served, ok := find(spans, "inventory", "Server", "Reserve")
			entry, _ := find(spans, "storefront", "Server", "")
			return ok && !served.failed && !entry.failed && served.end.Sub(served.start) > 400*time.Millisecond
		},
		"refused": func(spans []span) bool {
			call, ok := find(spans, "checkout", "Client", "POST")
			_, served := find(spans, "shipping", "Server", "")
			return ok && !served && strings.Contains(call.message, "connection refused")
		},
		"crash": func(spans []span) bool {
			inner, ok := find(spans, "payments", "Client", "")
			_, served := find(spans, "payments", "Server", "")
			entry, _ := find(spans, "storefront", "Server", "")
			return ok && !served && !inner.failed && entry.failed
		},
		"fan-out-cancel": func(spans []span) bool {
			served, ok := find(spans, "pricing", "Server", "Quote")
			reserve, there := find(spans, "checkout", "Client", "Reserve")
			for _, s := range spans {
				// Go's HTTP client reports the cause of the cancellation: the sibling's error.
				if s.service == "checkout" && s.kind == "Client" && strings.Contains(s.name, "POST") && s.failed {
					return ok && served.failed && there && reserve.attributes["rpc.response.status_code"] == "CANCELLED"
				}
			}
			return false
		},
		"bad-request": func(spans []span) bool {
			served, ok := find(spans, "inventory", "Server", "Reserve")
			caller, _ := find(spans, "checkout", "Server", "")
			return ok && !served.failed && served.attributes["rpc.response.status_code"] == "INVALID_ARGUMENT" && caller.attributes["http.response.status_code"] == "500"
		},
		"third-party-down": func(spans []span) bool {
			call, ok := find(spans, "payments", "Client", "")
			return ok && call.failed && call.attributes["server.address"] == "bank"
		},
		"slow-queue": func(spans []span) bool {
			taken, ok := find(spans, "mailer", "Consumer", "")
			sent, there := find(spans, "checkout", "Producer", "")
			return ok && there && taken.parent == sent.id && taken.failed && taken.start.Sub(sent.end) > time.Second && !sent.failed
		},
	}
	for _, f := range allFaults() {
		t.Run(f.Name, func(t *testing.T) {
			t.Parallel()
			show := shows[f.Name]
			if show == nil {
				t.Fatal("no test knows how this fault shows")
			}
			r, endpoint := startReceiver(t)
			shop := startShop(t, endpoint, "--fault", f.Name)
			for range 2 { // again and again, not once
				hit := func() int {
					n := 0
					for _, spans := range r.byTrace() {
						if show(spans) {
							n++
						}
					}
					return n
				}
				before := hit()
				eventually(t, "the fault shows", func() bool { return hit() > before })
			}
			healthy := 0
			for _, spans := range r.byTrace() {
				if !show(spans) {
					healthy++
				}
			}
			if healthy == 0 {
				t.Error("no request was spared")
			}
			if err := shop.cmd.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
			shop.wait(t)
		})
	}
}

func TestKilledSupervisorLeavesNobody(t *testing.T) {
	t.Parallel()
	_, endpoint := startReceiver(t)
	shop := startShop(t, endpoint)
	if n := len(shop.processes(t)); n != len(processes())+1 {
		t.Errorf("%d processes run, want %d", n, len(processes())+1)
	}
	if err := shop.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "no process is left", func() bool {
		_ = shop.cmd.Process.Signal(syscall.Signal(0))
		return len(shop.processes(t)) <= 1 // a zombie until it is waited for
	})
	_ = shop.cmd.Wait()
	if left := shop.processes(t); len(left) > 0 {
		t.Errorf("processes are left: %v", left)
	}
}

func TestShopWithoutCollector(t *testing.T) {
	t.Parallel()
	shop := startShop(t, "http://127.0.0.1:1", "--protocol", "http/protobuf", "--for", "1s")
	response, err := http.Get(shop.url + "/checkout")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if err != nil || response.StatusCode != http.StatusOK {
		t.Errorf("GET /checkout: %d, %s, %v", response.StatusCode, body, err)
	}
	shop.wait(t)
}

func TestCommands(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	for _, c := range []struct {
		args        []string
		code        int
		out, errOut string
	}{
		{[]string{"--help"}, 0, "Example:", ""},
		{[]string{"run", "--help"}, 0, "Example:", ""},
		{[]string{"owners"}, 0, "{name: payments, owner: team-payments}", ""},
		{[]string{"faults"}, 0, "to blame: checkout->pricing (budget), owner: team-checkout", ""},
		{[]string{}, 2, "", "try --help"},
		{[]string{"run", "--fault", "sloth"}, 2, "", `--fault: there is no fault "sloth"; shop faults lists them`},
		{[]string{"run", "--rate", "0"}, 2, "", "--rate: 0 is not above 0"},
		{[]string{"run", "--for=-1s"}, 2, "", "--for: -1s is negative"},
		{[]string{"run", "--protocol", "carrier-pigeon"}, 2, "", "--protocol"},
		{[]string{"run", "--entry-addr", taken.Addr().String()}, 1, "", "open a port for storefront: listen tcp " + taken.Addr().String()},
		{[]string{"service", "payments"}, 1, "", "service payments is started by: shop run"},
	} {
		var out, errOut bytes.Buffer
		code := run(t.Context(), c.args, &out, &errOut)
		if code != c.code || !strings.Contains(out.String(), c.out) || !strings.Contains(errOut.String(), c.errOut) || (c.errOut == "") != (errOut.Len() == 0) {
			t.Errorf("shop %v: exit %d, want %d; out %q, want %q; err %q, want %q", c.args, code, c.code, &out, c.out, &errOut, c.errOut)
		}
	}
}

// TestFaultTable holds the table to what the shop is.
func TestFaultTable(t *testing.T) {
	var out bytes.Buffer
	if code := run(t.Context(), []string{"faults", "-o", "json"}, &out, io.Discard); code != 0 {
		t.Fatalf("exit %d", code)
	}
	var faults []fault
	if err := json.Unmarshal(out.Bytes(), &faults); err != nil {
		t.Fatal(err)
	}
	owners := make(map[string]string)
	for _, p := range processes() {
		owners[p.name] = p.owner
	}
	seen := make(map[string]bool)
	for _, f := range faults {
		if seen[f.Name] {
			t.Errorf("%s is there twice", f.Name)
		}
		seen[f.Name] = true
		e := f.Expect
		if len(e.Sites) == 0 || len(e.Rules) == 0 || e.Symptom == "" || f.Story == "" {
			t.Errorf("%s: something is missing in %+v", f.Name, f)
		}
		owner, isService := owners[e.Accountable]
		if owner == "" {
			owner = verdict.OwnerUnowned
		}
		if owner != e.Owner || (!isService && e.Sites[0].Kind != verdict.SitePeer) {
			t.Errorf("%s: %s is owned by %s, the table says %s", f.Name, e.Accountable, owner, e.Owner)
		}
		for _, name := range e.NotBlamed {
			if _, ok := owners[name]; !ok || name == e.Accountable {
				t.Errorf("%s: %s is not blamed", f.Name, name)
			}
		}
	}
	if len(faults) != len(allFaults()) {
		t.Errorf("%d faults, want %d", len(faults), len(allFaults()))
	}
}

func (s span) String() string {
	return fmt.Sprintf("%s %s %s %q", s.service, s.kind, s.name, s.message)
}
