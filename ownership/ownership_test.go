package ownership

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const file = `
services:
  - {name: "pay*", owner: team-money}
  - {name: payments, namespace: shop, owner: team-payments}
  - {name: "*", namespace: "legacy-*", owner: team-legacy}
  - {name: "edge/*/v?", owner: team-edge}
  - {name: a/b, owner: team-b}
`

func TestOwner(t *testing.T) {
	r, err := Parse([]byte(file), []string{"service.owner.name", "team"})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ service, namespace, attribute, want string }{
		{"payments", "shop", "", "team-payments"},
		{"payments", "other", "", "team-money"},
		{"paygate", "", "from-span", "team-money"},
		{"cart", "legacy-7", "from-span", "team-legacy"},
		{"cart", "shop", "from-span", "from-span"},
		{"cart", "shop", "", Unowned},
		{"", "", "", Unowned},
		{"edge/eu/west/v2", "", "", "team-edge"},
		{"edge/eu", "", "", Unowned},
		{"a/b", "", "", "team-b"},
		{"cart", "legacy-a/b", "", "team-legacy"},
	} {
		attr := func(key string) (string, bool) { return test.attribute, key == "team" && test.attribute != "" }
		if got := r.Owner(test.service, test.namespace, attr); got != test.want {
			t.Errorf("%+v: got %q", test, got)
		}
	}
}

func TestParseSaysWhatIsWrong(t *testing.T) {
	for text, want := range map[string]string{
		"services: [{name: a, owner: b, colour: red}]": "colour",
		"services: [{name: a}]":                        "services[0]",
		"services: [{name: 'a[', owner: b}]":           "services[0]",
		"services: [{name: a, owner: ' '}]":            "services[0]",
		"teams: []":                                    "teams",
		"services: []\n---\nservices: []":              "more than one document",
		"\n\nservices:\n- {name: a, owner: b, x: y}":   "line 4",
		"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b]\nservices: *c": "registry",
	} {
		if _, err := Parse([]byte(text), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := Parse(make([]byte, fileBytesMax+1), nil); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("a file too large: %v", err)
	}
	if _, err := Parse(nil, nil); err != nil {
		t.Errorf("an empty file: %v", err)
	}
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "owners.yaml")
	if _, err := Load(path, nil); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "ownership.file") {
		t.Errorf("a missing file: %v", err)
	}
	if err := os.WriteFile(path, []byte("services: 7"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path, nil); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a bad file: %v", err)
	}
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := Load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Owner("payments", "shop", nil); got != "team-payments" {
		t.Errorf("got %q", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(file))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Parse(data, nil)
		if err == nil && r.Owner("x", "y", func(string) (string, bool) { return "", false }) == "" {
			t.Fatal("an empty owner")
		}
	})
}
