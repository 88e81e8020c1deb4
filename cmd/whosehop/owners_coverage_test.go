package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/whosehop/whosehop/ownership"
	"github.com/whosehop/whosehop/ownership/catalog"
	"github.com/whosehop/whosehop/ownership/coverage"
	"github.com/whosehop/whosehop/verdict"
)

// coverageServer answers with a report on payments, which nobody owns and team-shop calls, and remembers what it was asked.
func coverageServer(t *testing.T, asked *string) string {
	t.Helper()
	registry := ownership.Compile([]catalog.Record{
		{Kind: catalog.Team, Name: "team-shop"},
		{Kind: catalog.Service, Name: "web", Owner: "team-shop", Source: catalog.Source{File: "owners.yaml", Line: 7}},
	}, ownership.Config{})
	traffic := &coverage.Traffic{
		Services: []coverage.Service{{Name: "payments", Spans: 5}, {Name: "web", Spans: 9}, {Name: "lonely", Spans: 1}},
		Calls:    []coverage.Call{{Caller: "web", Callee: "payments", Calls: 3}},
		Harm:     []coverage.Harm{{Site: verdict.Site{Kind: verdict.SiteService, Service: "payments"}, Failed: 12}},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked = r.URL.Path + "?" + r.URL.RawQuery
		report := coverage.Assess(registry, traffic, time.Now(), 180)
		if kind := r.URL.Query().Get("kind"); kind == "owner-gone" {
			report.Findings = nil
		}
		if err := json.NewEncoder(w).Encode(struct {
			*coverage.Report
			Missing []string `json:"missing"`
		}{report, []string{"shard 2"}}); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestOwnersCoverage(t *testing.T) {
	var asked string
	at := coverageServer(t, &asked)
	for _, test := range []struct {
		args  []string
		code  int
		asked string
		out   string
		err   string
	}{
		{nil, 0, "limit=20&reviewDays=180&since=168h0m0s", "1 of 3 services have an owner", "shard 2"},
		{nil, 0, "limit=20&reviewDays=180&since=168h0m0s", " 1  payments  100 % of all harm: 12.0 failed requests, 5 spans\n    no-owner       Nobody owns it", "shard 2"},
		{nil, 0, "limit=20&reviewDays=180&since=168h0m0s", "    possible team-shop: its only caller, web, is team-shop's\n", "shard 2"},
		{[]string{"--since", "24h", "--kind", "no-owner", "--limit", "3", "--review-days", "90"}, 0, "kind=no-owner&limit=3&reviewDays=90&since=24h0m0s", "payments", "shard 2"},
		{[]string{"-o", "json"}, 0, "limit=20&reviewDays=180&since=168h0m0s", `"suggestion":{"owner":"team-shop"`, ""},
		{[]string{"--patch"}, 0, "limit=500&reviewDays=180&since=168h0m0s", "+++ b/owners-suggested.yaml\n@@ -0,0 +1,5 @@\n+services:\n", "shard 2"},
		{[]string{"--patch", "--kind", "owner-gone"}, 0, "kind=owner-gone&limit=500&reviewDays=180&since=168h0m0s", "", "no suggestion for any of 0 findings"},
		{[]string{"--patch", "-o", "json"}, 2, "", "", "--patch is no JSON"},
		{[]string{"--patch", "--patch-file", "../x.yaml"}, 2, "", "", "not the plain path"},
		{[]string{"--patch", "--patch-file", "/etc/x.yaml"}, 2, "", "", "not the plain path"},
		{[]string{"--patch", "--patch-file", "a\nb"}, 2, "", "", "not the plain path"},
		{[]string{"--review-days", "0"}, 2, "", "", "--review-days is 1 or more"},
		{[]string{"--limit", "0"}, 2, "", "", "--limit is 1 or more"},
		{[]string{"--patch", "--limit", "7"}, 0, "limit=7&reviewDays=180&since=168h0m0s", "+++ b/owners-suggested.yaml", "shard 2"},
		{[]string{"--kind", "nonsense"}, 2, "", "", "--kind"},
	} {
		asked = ""
		var out, errOut strings.Builder
		code := run(t.Context(), append([]string{"owners", "coverage", "--server", at}, test.args...), strings.NewReader(""), &out, &errOut)
		if code != test.code || !strings.Contains(out.String(), test.out) || !strings.Contains(errOut.String(), test.err) || test.code == 0 && asked != "/api/v1/owners/coverage?"+test.asked {
			t.Errorf("%q: code %d, asked %s\nout: %s\nerr: %s", test.args, code, asked, out.String(), errOut.String())
		}
		if test.out == "" && out.Len() > 0 {
			t.Errorf("%q prints %s", test.args, out.String())
		}
	}
}

// TestThePatchIsApplied: from the command to the registry that resolves by it.
func TestThePatchIsApplied(t *testing.T) {
	var asked string
	var patch, errOut strings.Builder
	args := []string{"owners", "coverage", "--patch", "--patch-file", "owners/suggested.yaml", "--server", coverageServer(t, &asked)}
	if code := run(t.Context(), args, strings.NewReader(""), &patch, &errOut); code != 0 {
		t.Fatal(code, errOut.String())
	}
	repository := t.TempDir()
	for _, args := range [][]string{{"init", "-q"}, {"apply", "-"}} {
		cmd := exec.CommandContext(t.Context(), "git", args...)
		cmd.Dir, cmd.Stdin = repository, strings.NewReader(patch.String())
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %s: %v: %s\n%s", args[0], err, out, patch.String())
		}
	}
	file := filepath.Join(repository, "owners", "suggested.yaml")
	registry, err := new(ownershipSettings).load(file, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	if answer := registry.Resolve(&ownership.Question{Service: "payments"}); answer.Owner != "team-shop" {
		t.Errorf("%+v", answer)
	}
	if text, err := os.ReadFile(file); err != nil || !strings.Contains(string(text), "# its only caller, web, is team-shop's (possible)") {
		t.Errorf("%v: %s", err, text)
	}
}
