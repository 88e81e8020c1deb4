package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/whosehop/whosehop/ownership/catalog"
	"github.com/whosehop/whosehop/query/rest"
)

// applyTo runs `owners apply` against a server that gives an answer, and says what was sent to it.
func applyTo(t *testing.T, answer rest.OwnersApplied, args ...string) (code int, out, errOut, asked string, sent *rest.OwnersWanted) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.Method + " " + r.URL.String() + " " + r.Header.Get("Content-Type")
		sent = new(rest.OwnersWanted)
		if err := json.NewDecoder(r.Body).Decode(sent); err != nil {
			t.Error(err)
		}
		_ = json.NewEncoder(w).Encode(answer)
	}))
	defer server.Close()
	var o, e strings.Builder
	code = run(t.Context(), append(append([]string{"owners", "apply"}, args...), "--server", server.URL), strings.NewReader(""), &o, &e)
	return code, o.String(), e.String(), asked, sent
}

func TestApplyPrintsWhatChanged(t *testing.T) {
	file := filepath.Join(t.TempDir(), "owners.yaml")
	if err := os.WriteFile(file, []byte("services:\n  - {name: payments, owner: team-b}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	source := catalog.Source{Format: "whosehop", File: "owners.yaml", Line: 2}
	answer := rest.OwnersApplied{
		Set: "shop", Added: 1, Ended: 1, Changed: 1500, Unchanged: 7,
		Changes: []rest.OwnersChange{
			{What: "added", About: "service cart", After: "team-c", Source: source},
			{What: "ended", About: "service old", Before: "team-d", Source: source},
			{What: "changed", About: "service payments", Before: "team-a", After: "team-b", Source: source},
			{What: "changed", About: "service web", Before: "team-w", After: "team-w", Source: source},
			{What: "added", About: "team team-b", Source: source},
		},
		Handovers: []rest.Handover{
			{About: "service payments", At: time.Date(2026, 11, 3, 0, 0, 0, 0, time.UTC), Before: "team-a", After: "team-b"},
			{About: "service old", At: time.Date(2026, 11, 3, 9, 5, 0, 0, time.UTC), Before: "team-d", After: "unowned"},
			{About: "service found", At: time.Date(2026, 11, 3, 9, 5, 0, 0, time.UTC), Before: "unowned", After: "team-e"},
		},
		Conflicts: []string{"service payments: team-b by owners.yaml:2, team-z by other.yaml:3; the first counts"},
	}
	t.Chdir(filepath.Dir(file))
	code, out, errOut, asked, sent := applyTo(t, answer, file, "--set", "shop")
	want := `+ service cart: team-c  (owners.yaml:2)
- service old: team-d  (owners.yaml:2)
~ service payments: team-b, before team-a  (owners.yaml:2)
~ service web: team-w  (owners.yaml:2)
+ team team-b  (owners.yaml:2)
and 1497 further changes
hand-overs:
  service payments: team-a until 3 Nov 2026, team-b since
  service old: team-d until 3 Nov 2026 09:05 UTC, nobody since
  service found: nobody until 3 Nov 2026 09:05 UTC, team-e since
conflicts:
  service payments: team-b by owners.yaml:2, team-z by other.yaml:3; the first counts
set shop: 1 added, 1 ended, 1500 changed, 7 as before; applied
`
	if code != 0 || out != want || errOut != "" {
		t.Errorf("code %d, %s%s", code, out, errOut)
	}
	if asked != "PUT /api/v1/owners?dryRun=false&set=shop application/json" || len(sent.Records) != 1 || sent.Records[0].Name != "payments" || sent.Records[0].Source.String() != "owners.yaml:2" || sent.Keep != nil {
		t.Errorf("%s: %+v", asked, sent)
	}
	code, out, _, asked, _ = applyTo(t, rest.OwnersApplied{Set: "default", DryRun: true}, file, "--dry-run")
	if code != 0 || out != "set default: 0 added, 0 ended, 0 changed, 0 as before; not applied, a dry run\n" || !strings.Contains(asked, "dryRun=true&set=default") {
		t.Errorf("code %d, %s: %s", code, asked, out)
	}
	code, out, _, _, _ = applyTo(t, answer, file, "-o", "json")
	var read rest.OwnersApplied
	if err := json.Unmarshal([]byte(out), &read); code != 0 || err != nil || read.Changed != 1500 {
		t.Errorf("code %d, %v: %s", code, err, out)
	}
}

func TestApplyRefusesWhatIsBroken(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"good.yaml":   "services:\n  - {name: payments, owner: team-b}\n",
		"broken.yaml": "services:\n  - {name: cart, owner: team-c}\n  - {owner: nobody}\n",
		"empty.yaml":  "services: []\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	good, broken := filepath.Join(dir, "good.yaml"), filepath.Join(dir, "broken.yaml")
	code, out, errOut, asked, _ := applyTo(t, rest.OwnersApplied{}, good, broken)
	if code != 1 || out != "" || asked != "" || !strings.Contains(errOut, "broken.yaml:3: ") || !strings.Contains(errOut, "nothing is applied: 1 problem") {
		t.Errorf("code %d, asked %q, %s%s", code, asked, out, errOut)
	}
	code, _, _, _, sent := applyTo(t, rest.OwnersApplied{}, good, broken, "--skip-broken")
	if code != 0 || len(sent.Records) != 1 || sent.Records[0].Name != "payments" || len(sent.Keep) != 1 || sent.Keep[0] != broken {
		t.Errorf("code %d, %+v", code, sent)
	}
	// What was imported is of the file that has it now, and not of where it was first written down.
	imported := filepath.Join(dir, "imported.yaml")
	text := "services:\n  - {name: a, owner: b, source: catalog-info.yaml:7, format: backstage}\n"
	for _, more := range []string{"", "  - {owner: nobody}\n"} {
		if err := os.WriteFile(imported, []byte(text+more), 0o600); err != nil {
			t.Fatal(err)
		}
		code, _, _, _, sent = applyTo(t, rest.OwnersApplied{}, imported, "--skip-broken")
		if more == "" && (code != 0 || len(sent.Records) != 1 || sent.Records[0].By != imported || sent.Records[0].Source.File != "catalog-info.yaml") {
			t.Errorf("code %d, %+v", code, sent)
		}
		if more != "" && (code != 0 || len(sent.Records) != 0 || len(sent.Keep) != 1 || sent.Keep[0] != imported) {
			t.Errorf("code %d, %+v", code, sent)
		}
	}
	code, _, errOut, asked, _ = applyTo(t, rest.OwnersApplied{}, filepath.Join(dir, "empty.yaml"))
	if code != 1 || asked != "" || !strings.Contains(errOut, "nothing in") {
		t.Errorf("an empty file must not end all: code %d, asked %q, %s", code, asked, errOut)
	}
	if code, _, errOut, asked, _ = applyTo(t, rest.OwnersApplied{}, good, "--set", ""); code != 2 || asked != "" || !strings.Contains(errOut, "--set") {
		t.Errorf("a set without a name: code %d, asked %q, %s", code, asked, errOut)
	}
	if code, _, errOut, _, _ = applyTo(t, rest.OwnersApplied{}, filepath.Join(dir, "none.yaml")); code != 1 || !strings.Contains(errOut, "none.yaml") {
		t.Errorf("code %d, %s", code, errOut)
	}
}

func TestHandoversInWords(t *testing.T) {
	list := rest.Handovers{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.String() != "/api/v1/owners/handovers?since=720h0m0s" {
			http.Error(w, r.URL.String(), http.StatusBadRequest)
			return
		}
		_ = json.NewEncoder(w).Encode(list)
	}))
	defer server.Close()
	ask := func(args ...string) (int, string, string) {
		var o, e strings.Builder
		code := run(t.Context(), append([]string{"owners", "handovers", "--server", server.URL}, args...), strings.NewReader(""), &o, &e)
		return code, o.String(), e.String()
	}
	if code, out, _ := ask("--since", "720h"); code != 0 || out != "nothing changed hands in the last 720h0m0s\n" {
		t.Errorf("code %d, %s", code, out)
	}
	list = rest.Handovers{Total: 3, Handovers: []rest.Handover{{About: "edge shop->cart:pool", At: time.Date(2026, 11, 3, 0, 0, 0, 0, time.UTC), Before: "a", After: "b"}}}
	if code, out, _ := ask("--since", "720h"); code != 0 || out != "edge shop->cart:pool: a until 3 Nov 2026, b since\nand 2 earlier hand-overs\n" {
		t.Errorf("code %d, %s", code, out)
	}
	if code, out, _ := ask("--since", "720h", "-o", "json"); code != 0 || !strings.Contains(out, `"total":3`) {
		t.Errorf("code %d, %s", code, out)
	}
	if code, _, errOut := ask("--since", "-1h"); code != 2 || !strings.Contains(errOut, "--since") {
		t.Errorf("code %d, %s", code, errOut)
	}
}
