package e2e

import (
	"cmp"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/whosehop/whosehop/internal/openapitest"
	"github.com/whosehop/whosehop/verdict"
)

// withToken brings a token.
type withToken string

func (token withToken) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+string(token))
	return http.DefaultTransport.RoundTrip(r)
}

// TestInterfaces asks a real server with real clients: those of the Model Context Protocol, and grpcurl.
func TestInterfaces(t *testing.T) {
	owners := filepath.Join(t.TempDir(), "owners.yaml")
	text, err := exec.CommandContext(t.Context(), filepath.Join(bin, "shop"), "owners").Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(owners, text, 0o600); err != nil {
		t.Fatal(err)
	}
	u := startUp(t, t.TempDir(), "--ownership-file", owners)
	runShop(t, u, "--rate", "10", "--for", "3s", "--fault", "leaf-error")
	var found list
	waitUntil(t, "verdicts are there", func() bool {
		return u.get(t, "/api/v1/verdicts?since=5m&owner=team-payments", &found) == http.StatusOK && len(found.Verdicts) >= 3
	})
	waitUntil(t, "they are summed up", func() bool {
		return strings.Contains(ask(t, u.http+"/api/v1/top?since=5m"), "team-payments")
	})
	id := found.Verdicts[0].TraceID

	// A second server on the same data, that asks for a token.
	const secret = "not-to-be-guessed"
	_, guarded := startRole(t, addresses["http"], "query", "--storage-dsn", u.dsn(t), "--query-http", ":0", "--query-grpc", ":0", "--query-token", secret)
	_, guardedGRPC := startRole(t, addresses["query"], "query", "--storage-dsn", u.dsn(t), "--query-http", ":0", "--query-grpc", ":0", "--query-token", secret)

	for kind, transport := range map[string]mcp.Transport{
		"http":  &mcp.StreamableClientTransport{Endpoint: guarded + "/mcp", HTTPClient: &http.Client{Transport: withToken(secret)}},
		"stdio": &mcp.CommandTransport{Command: exec.CommandContext(t.Context(), filepath.Join(bin, "whosehop"), "mcp", "--server", guarded, "--token", secret)},
	} {
		t.Run("mcp over "+kind, func(t *testing.T) { talk(t, transport, id) })
	}
	t.Run("mcp with a wrong token", func(t *testing.T) {
		wrong := &mcp.StreamableClientTransport{Endpoint: guarded + "/mcp", HTTPClient: &http.Client{Transport: withToken("guess")}}
		if _, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).Connect(t.Context(), wrong, nil); err == nil {
			t.Error("a wrong token was let in")
		}
		if said := command(t, 1, "mcp", "--server", guarded, "--token", "guess"); !strings.Contains(said, "--token") || strings.Count(said, "\n") != 1 {
			t.Error(said)
		}
	})
	t.Run("no token", func(t *testing.T) {
		for path, want := range map[string]int{
			"/": http.StatusUnauthorized, "/static/whosehop.css": http.StatusUnauthorized, "/metrics": http.StatusUnauthorized, "/mcp": http.StatusUnauthorized,
			"/api/v1/top": http.StatusUnauthorized, "/api/traces/" + id: http.StatusUnauthorized, "/jaeger/api/services": http.StatusUnauthorized,
			"/tempo/api/echo": http.StatusUnauthorized, "/nothing": http.StatusUnauthorized, "/healthz": http.StatusOK, "/readyz": http.StatusOK,
		} {
			answer, err := http.Get(guarded + path)
			if err != nil {
				t.Fatal(err)
			}
			_ = answer.Body.Close()
			if answer.StatusCode != want {
				t.Errorf("%s: answered %d, want %d", path, answer.StatusCode, want)
			}
		}
	})
	t.Run("OpenAPI", func(t *testing.T) { conform(t, u, id) })
	t.Run("grpcurl", func(t *testing.T) { curl(t, u.grpc, guardedGRPC, secret, id) })
}

// talk asks as a model would: what is breaking, why, whose it is.
func talk(t *testing.T, transport mcp.Transport, id string) {
	session, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).Connect(t.Context(), transport, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = session.Close() }()
	for _, q := range []struct {
		tool   string
		args   map[string]any
		want   string
		failed bool
	}{
		{"whats_breaking", nil, "team-payments", false},
		{"verdict", map[string]any{"trace_id": id}, "payments (team-payments) broke", false},
		{"why_not", map[string]any{"trace_id": id, "service": "checkout"}, "checkout", false},
		{"search_verdicts", map[string]any{"owner": "team-payments", "limit": 2}, "page_token", false},
		{"owner_report", map[string]any{"owner": "team-payments"}, "caused", false},
		{"top", map[string]any{"by": "service"}, "payments", false},
		{"attribution", nil, "team-payments", false},
		{"service_map", map[string]any{"focus": "payments"}, "checkout -> payments", false},
		{"resolve_owner", map[string]any{"service": "payments"}, "team-payments", false},
		{"coverage", nil, "payments", false},
		{"rank", map[string]any{"since": "5m"}, "", false},
		{"verdict", map[string]any{"trace_id": strings.Repeat("7", 32)}, "Check the id", true},
		{"top", map[string]any{"by": "colour"}, "none of", true},
	} {
		result, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: q.tool, Arguments: q.args})
		if err != nil {
			t.Errorf("%s: %v", q.tool, err)
			continue
		}
		text := result.Content[0].(*mcp.TextContent).Text
		if result.IsError != q.failed || !strings.Contains(text, q.want) || result.StructuredContent == nil && !q.failed {
			t.Errorf("%s %v: failed %t:\n%s", q.tool, q.args, result.IsError, text)
		}
	}
}

// curl asks every question with grpcurl, which knows of the service only what the server tells.
func curl(t *testing.T, address, guarded, token, id string) {
	program := os.Getenv("GRPCURL")
	if program == "" {
		program = filepath.Join("..", "..", ".cache", "bin", "grpcurl")
	}
	run := func(args ...string) (string, error) {
		out, err := exec.CommandContext(t.Context(), program, append([]string{"-plaintext", "-max-time", "30"}, args...)...).CombinedOutput()
		if err != nil && len(out) == 0 {
			t.Fatalf("grpcurl: %v (make test installs it)", err)
		}
		return string(out), err
	}
	said, err := run(address, "list", "whosehop.v1.Whosehop")
	if err != nil {
		t.Fatal(said)
	}
	methods := strings.Fields(said)
	slices.SortFunc(methods, func(a, b string) int { // what is listed is said first
		return cmp.Compare(strings.Index(b, "ReviewVerdict"), strings.Index(a, "ReviewVerdict"))
	})
	if said, err := run(address, "describe", "whosehop.v1.Whosehop"); err != nil || strings.Count(said, "rpc ") != len(methods) {
		t.Errorf("describe: %s", said)
	}
	if said, err := run(address, "describe", ".whosehop.v1.GetTopRequest"); err != nil || !strings.Contains(said, "string by = 3") {
		t.Errorf("describe: %s", said)
	}
	asked := map[string]struct{ request, want string }{
		"GetVerdict":       {`{"traceId":"` + id + `"}`, `"verdictJson"`},
		"GetWhyNot":        {`{"traceId":"` + id + `","service":"checkout"}`, `"answerJson"`},
		"ReviewVerdict":    {`{"traceId":"` + id + `","kind":"confirmed","by":"test"}`, `confirmed`},
		"ListReviews":      {`{"traceId":"` + id + `"}`, `confirmed`},
		"GetReviewSummary": {`{}`, `confirmed`},
		"ListVerdicts":     {`{"pageSize":1,"owner":"team-payments"}`, `"nextPageToken"`},
		"GetNow":           {`{}`, `"hops"`},
		"GetReport":        {`{"owner":"team-payments"}`, `"causedBefore"`},
		"GetEdge":          {`{"caller":"checkout","callee":"payments"}`, `"caller": "checkout"`},
		"GetMap":           {`{"focus":"payments"}`, `"callee": "payments"`},
		"GetAttribution":   {`{}`, `"team-payments"`},
		"GetTop":           {`{"by":"service"}`, `"payments"`},
		"GetRank":          {`{}`, `{`},
		"PutOwners":        {`{"dryRun":true,"set":"test","recordJson":["{\"kind\":\"service\",\"name\":\"x\",\"owner\":\"o\"}"]}`, `"added": "1"`},
		"ListOwners":       {`{"kind":"service"}`, `"recordJson"`},
		"ListHandovers":    {`{}`, `{`},
		"ResolveOwner":     {`{"service":"payments"}`, `"owner": "team-payments"`},
		"GetCoverage":      {`{}`, `"totalsJson"`},
	}
	for _, method := range methods {
		name := method[strings.LastIndexByte(method, '.')+1:]
		q, ok := asked[name]
		if !ok {
			t.Errorf("%s is not asked here", method)
			continue
		}
		if said, err := run("-d", q.request, address, method); err != nil || !strings.Contains(said, q.want) {
			t.Errorf("%s %s: %v, want %s in\n%s", method, q.request, err, q.want, said)
		}
	}
	for _, c := range []struct {
		address, method, request string
		want                     []string
	}{
		{address, "GetTop", `{"limit":501}`, []string{"InvalidArgument", "google.rpc.BadRequest", `"field": "limit"`, "501 is not within", `"reason": "INVALID_QUESTION"`}},
		{address, "ListVerdicts", `{"pageToken":"x"}`, []string{"InvalidArgument", `"field": "page_token"`}},
		{address, "GetVerdict", `{"traceId":"` + strings.Repeat("7", 32) + `"}`, []string{"NotFound", "google.rpc.ErrorInfo", `"reason": "TRACE_NOT_FOUND"`}},
		{guarded, "GetTop", `{}`, []string{"Unauthenticated", "Bearer"}},
	} {
		args := []string{"-d", c.request, c.address, "whosehop.v1.Whosehop/" + c.method}
		if c.address == guarded { // which does not tell of itself either
			if said, err := run(guarded, "list"); err == nil || !strings.Contains(said, "Unauthenticated") {
				t.Errorf("list without a token: %s", said)
			}
			args = append([]string{"-proto", "whosehop/v1/whosehop.proto", "-import-path", "../../proto"}, args...)
		}
		said, err := run(args...)
		for _, want := range c.want {
			if err == nil || !strings.Contains(said, want) {
				t.Errorf("%s %s: want %s in\n%s", c.method, c.request, want, said)
			}
		}
	}
	said, err = run("-H", "authorization: Bearer "+token, "-d", `{"traceId":"`+id+`"}`, guarded, "whosehop.v1.Whosehop/GetVerdict")
	var answer struct{ VerdictJSON []string }
	var v verdict.Verdict
	if err != nil || json.Unmarshal([]byte(said), &answer) != nil || json.Unmarshal([]byte(strings.Join(answer.VerdictJSON, "")), &v) != nil || v.TraceID != id {
		t.Errorf("with the token: %v %s", err, said)
	}
}

// conform holds the document against a validator, and what the server really answers against the document.
func conform(t *testing.T, u *up, id string) {
	text := ask(t, u.http+"/api/v1/openapi.json")
	validator := exec.CommandContext(t.Context(), "node", "node/openapi.mjs")
	validator.Stdin = strings.NewReader(text)
	if said, err := validator.CombinedOutput(); err != nil || !strings.Contains(string(said), "valid, version 3.1") {
		t.Errorf("%v (make test installs the validator): %s", err, said)
	}
	doc, err := openapitest.Load([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	needs := map[string]string{"/api/v1/report": "owner=team-payments", "/api/v1/edge": "caller=checkout&callee=payments", "/api/v1/owners/resolve": "service=payments&why=true", "/api/v1/verdicts/{traceId}/why-not": "service=checkout"}
	for path, methods := range doc.Paths {
		if _, ok := methods["get"]; !ok {
			continue
		}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, u.http+strings.ReplaceAll(path, "{traceId}", id)+"?"+needs[path], nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != http.StatusOK {
			t.Errorf("%s: %d %v %s", path, response.StatusCode, err, body)
		}
		if err := doc.Check(request, response.StatusCode, response.Header, body); err != nil {
			t.Error(err)
		}
	}
}
