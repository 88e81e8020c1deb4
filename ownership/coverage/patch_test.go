package coverage_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/whosehop/whosehop/ownership"
	"github.com/whosehop/whosehop/ownership/catalog"
	"github.com/whosehop/whosehop/ownership/coverage"
	"github.com/whosehop/whosehop/verdict"
)

// TestPatchIsApplied gives the patch to git, and reads what it makes as the registry does: each name comes back as it was seen,
// whatever it looks like in YAML.
func TestPatchIsApplied(t *testing.T) {
	names := []string{
		"payments", "true", "null", "0x1f", "1.5", "2026-11-03", "~", "a: b", "# c", "- d", "- ", "'e'", `"f"`, "{g}", "[h]", "&i", "*j", "!k", "|", "> l", "%m", "@n", "`o`",
		"back\\slash", "größe 名前", "?", ",", "=", "<<", "--- p", "...", strings.Repeat("x", 256),
	}
	var traffic coverage.Traffic
	for _, name := range names {
		traffic.Services = append(traffic.Services, seen(name, 5, "service.namespace", "no"))
	}
	// These cannot be written down, and are left out.
	for _, name := range []string{"two\nlines", "{{ template }}", strings.Repeat("y", 257), "bell\a", "\xff\xfe", " p"} {
		traffic.Services = append(traffic.Services, seen(name, 5, "service.namespace", "no"))
	}
	report := assess([]catalog.Record{team("no-team", full)}, traffic)
	text, n := coverage.Suggested(report.Findings)
	if n != len(names)-1 { // "- " ends with a space
		t.Errorf("%d records of %d", n, len(names)-1)
	}
	repository := t.TempDir()
	git(t, repository, "", "init", "-q")
	git(t, repository, coverage.Patch("teams/owners-suggested.yaml", text), "apply", "-")
	file := filepath.Join(repository, "teams", "owners-suggested.yaml")
	if got, err := os.ReadFile(file); err != nil || string(got) != text {
		t.Fatalf("%v: %s", err, got)
	}
	records, problems, err := catalog.Read([]string{file}, catalog.Options{})
	if err != nil || len(problems) > 0 || len(records) != n {
		t.Fatalf("%d records, %v, %v:\n%s", len(records), problems, err, text)
	}
	registry := ownership.Compile(records, ownership.Config{})
	for _, name := range names {
		q := ownership.Question{Service: name, Namespace: "no", AtNs: now.UnixNano()}
		if answer := registry.Resolve(&q); answer.Owner != "no-team" && name != "- " {
			t.Errorf("%q is owned by %q", name, answer.Owner)
		}
	}
}

func git(t *testing.T, dir, in string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(in)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git %s: %v: %s\n%s", strings.Join(args, " "), err, out, in)
	}
}

// TestSuggestedFile is the file as people read it.
func TestSuggestedFile(t *testing.T) {
	report := assess(
		[]catalog.Record{
			team("team-a", full), service("w1", "team-a"), service("w2", "team-a"), ended(service("pay", "team-a"), date(2026, 11, 3)),
			{Kind: catalog.Service, Name: "api-1", Environment: "prod", Owner: "team-gone", Source: at(9)},
			service("api-2", "team-a"),
			{Kind: catalog.Operation, Name: "pay", Operation: "POST /refund*", Owner: "refunds", Source: at(10)},
		},
		coverage.Traffic{
			Services: []coverage.Service{seen("w1", 1), seen("w2", 1), seen("pay", 7, "k8s.namespace.name", "shop"), seen("api-1", 5, "deployment.environment", "prod"), seen("api-2", 1)},
			Calls:    []coverage.Call{{"w1", "pay", 1}, {"w2", "pay", 1}, {"w1", "redis cart", 4}, {"w1", "kafka orders", 3}, {"w2", "bank:443", 2}, {"w2", "api.stripe.example", 1}},
			Harm: []coverage.Harm{
				{Site: verdict.Site{Kind: verdict.SiteService, Service: "pay", Operation: "POST /refunds"}, Failed: 2},
				edge("w1", "w2", verdict.PhaseResponse, "", 1),
			},
		},
	)
	const want = `services:
  # it was team-a's until 3 Nov 2026; both its callers, w1 and w2, are team-a's (likely)
  - name: pay
    namespace: shop
    owner: team-a
    from: 2026-11-21
  # the only other service with names that begin with api is team-a's (a guess)
  - name: api-1
    environment: prod
    owner: team-a
    from: 2026-11-21
datastores:
  # its only caller, w1, is team-a's (possible)
  - name: redis cart
    owner: team-a
    from: 2026-11-21
queues:
  # its only caller, w1, is team-a's (possible)
  - name: kafka orders
    owner: team-a
    from: 2026-11-21
third-parties:
  # its only caller, w2, is team-a's (possible)
  - name: bank:443
    owner: team-a
    from: 2026-11-21
  # its only caller, w2, is team-a's (possible)
  - name: api.stripe.example
    owner: team-a
    aliases: ['api.stripe.example:*']
    from: 2026-11-21
operations:
  # it was team-a's until 3 Nov 2026; both its callers, w1 and w2, are team-a's (likely)
  - service: pay
    operation: POST /refund*
    owner: team-a
    from: 2026-11-21
edges:
  # both w1 and w2 are team-a's (possible)
  - caller: w1
    callee: w2
    phase: response
    owner: team-a
    from: 2026-11-21
`
	if text, n := coverage.Suggested(report.Findings); text != want || n != 8 {
		t.Errorf("%d records: got\n%swant\n%s", n, text, want)
	}
	if text, n := coverage.Suggested(nil); text != "" || n != 0 {
		t.Errorf("%d of none: %s", n, text)
	}
}
