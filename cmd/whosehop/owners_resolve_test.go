package main

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/whosehop/whosehop/ownership"
	"github.com/whosehop/whosehop/query"
	"github.com/whosehop/whosehop/query/rest"
)

// TestResolveSaysTheSame: a server and files answer alike, on stdout and by their exit codes.
func TestResolveSaysTheSame(t *testing.T) {
	path := filepath.Join(t.TempDir(), "owners.yaml")
	catalog := "services:\n  - {name: payments, owner: team-pay}\n  - {name: checkout, namespace: shop, owner: team-checkout}\n  - {name: checkout, owner: team-rest}\n"
	if err := os.WriteFile(path, []byte(catalog), 0o600); err != nil {
		t.Fatal(err)
	}
	settings := ownershipSettings{Attributes: []string{"service.owner.name", "team", "owner", "service.namespace"}}
	registry, err := settings.load(path, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	owners := new(ownership.Current)
	owners.Set(registry)
	mux := http.NewServeMux()
	rest.Register(mux, query.New(nil, nil, owners, nil), slog.New(slog.DiscardHandler))
	server := httptest.NewServer(requireToken(mux, "secret"))
	t.Cleanup(server.Close)

	ask := func(args ...string) (string, string, int) {
		var out, errOut strings.Builder
		code := run(t.Context(), append([]string{"owners", "resolve"}, args...), strings.NewReader(""), &out, &errOut)
		return out.String(), errOut.String(), code
	}
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--service", "payments"}, 0, "payments: team-pay\n"},
		{[]string{"--service", "checkout", "--attribute", "service.namespace=shop", "--why"}, 0, "checkout: team-checkout\n"},
		{[]string{"--service", "checkout", "--namespace", "other", "--environment", "prod", "--operation", "GET /"}, 0, "checkout GET /: team-rest\n"},
		{[]string{"--service", "x", "--attribute", "a=b=c", "--attribute", "team=t,u;v"}, 0, "x: t,u;v\n"},
		{[]string{"--edge", "checkout->payments:queue"}, 0, "side        callee; what waits in a queue"},
		{[]string{"--edge", "checkout->payments"}, 1, "callee      payments: team-pay (service payments, by "},
		{[]string{"--peer", "payments", "--service", "checkout"}, 0, "payments: team-pay\n"},
		{[]string{"--service", "x"}, 1, "x: unowned\n"},
		{[]string{"--code-path", "src/a.go"}, 1, "src/a.go: unowned\n"},
	} {
		args := append(test.args, "--at", "2026-11-20T10:00:00Z")
		for _, format := range []string{"text", "json"} {
			args := append(args, "-o", format)
			files, said, code := ask(append(args, "--owners", path)...)
			if code != test.code || format == "text" && !strings.Contains(files, test.want) {
				t.Errorf("%q: code %d\n%s%s", args, code, files, said)
			}
			served, saidToo, codeToo := ask(append(args, "--server", server.URL, "--token", "secret")...)
			if served != files || said != saidToo || code != codeToo {
				t.Errorf("%q: the server says otherwise, code %d\n%s%s", args, codeToo, served, saidToo)
			}
		}
	}
	for _, where := range [][]string{{"--owners", path}, {"--server", server.URL, "--token", "secret"}} {
		if out, said, code := ask(append(where, "--service", "payments", "--at", "2026-11-03")...); code != 0 || !strings.Contains(out, "at          2026-11-03T00:00:00Z\n") {
			t.Errorf("%q on a date: %d %s%s", where, code, out, said)
		}
		if _, said, code := ask(append(where, "--service", "payments", "--at", "0")...); code != 2 || !strings.Contains(said, "--at: ") {
			t.Errorf("%q at 0: %d %s", where, code, said)
		}
	}
	if _, said, code := ask("--service", "a", "--server", server.URL); code != 1 || !strings.Contains(said, "says 401") {
		t.Errorf("without the token: %d %s", code, said)
	}
}
