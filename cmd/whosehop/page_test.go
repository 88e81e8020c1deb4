package main

import (
	"os"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// TestSettingsPage holds docs/config.md against the settings: every one is there, with its default.
func TestSettingsPage(t *testing.T) {
	text, err := os.ReadFile("../../docs/config.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := make(map[string]string)
	for line := range strings.Lines(string(text)) {
		if cells := strings.Split(line, "|"); len(cells) == 5 && strings.HasPrefix(cells[1], " `") {
			listed[strings.Trim(cells[1], " `")] = strings.Trim(cells[2], " `")
		}
	}
	parser, err := kong.New(&cli{}, kong.NamedMapper("file", fileMapper{}))
	if err != nil {
		t.Fatal(err)
	}
	defaults := make(map[string]string)
	for _, f := range parser.Model.Flags {
		defaults[f.Name] = f.Default
	}
	for key := range settingKeys() {
		said, ok := listed[key]
		want, isFlag := defaults[strings.ReplaceAll(key, ".", "-")]
		if key == "insecure" {
			want = "false"
		}
		switch {
		case !isFlag:
			t.Errorf("%s is no flag", key)
		case !ok:
			t.Errorf("docs/config.md does not list %s", key)
		case said != want:
			t.Errorf("docs/config.md gives %s the default %q, it is %q", key, said, want)
		}
		delete(listed, key)
	}
	for key := range listed {
		t.Errorf("docs/config.md lists %s, which is no setting", key)
	}
}
