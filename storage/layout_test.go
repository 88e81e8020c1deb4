package storage

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestReplicatedTables holds what is run on a host of a cluster that has a Keeper against testdata/replicated.sql. There is
// none beside the embedded engine, so this is about the text alone.
func TestReplicatedTables(t *testing.T) {
	l := &layout{cluster: "main", database: "whosehop", shard: 2, host: "ch-2-1", keeper: true}
	files, err := filepath.Glob("migrations/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for statement := range strings.SplitSeq(string(text), ";\n") {
			if strings.TrimSpace(statement) == "" {
				continue
			}
			here, err := l.statements(statement)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range here {
				all.WriteString(withoutComments(s) + ";\n")
			}
		}
	}
	golden := filepath.Join("testdata", "replicated.sql")
	if *update {
		if err := os.WriteFile(golden, []byte(all.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if all.String() != string(want) {
		t.Errorf("the statements are not those of %s (-update writes it anew):\n%s", golden, all.String())
	}
	if _, err := l.statements("ALTER TABLE verdicts ADD COLUMN Extra String"); err == nil {
		t.Error("a statement that nobody thought of on a cluster must not be run there")
	}
}

func withoutComments(statement string) string {
	var lines []string
	for line := range strings.Lines(statement) {
		if trimmed := strings.TrimSpace(line); trimmed != "" && !strings.HasPrefix(trimmed, "--") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}
