// Package archtest holds the imports of all packages against the table in docs/ARCHITECTURE.md.
package archtest

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	root   = "../.."
	module = "github.com/whosehop/whosehop/"
)

// impure are what a pure package may not import.
var impure = []string{"os", "os/exec", "net", "net/http", "context", "log", "log/slog", "database/sql", "time", "sync"}

// pureTime are pure packages that may format a time; none may ask what time it is.
var pureTime = []string{"verdict"}

type row struct {
	pure bool
	may  []string
}

// table parses the package table of the architecture page.
func table(t *testing.T) map[string]*row {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "docs", "ARCHITECTURE.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows := make(map[string]*row)
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 4 || !strings.HasPrefix(strings.TrimSpace(cells[0]), "`") {
			continue
		}
		r := &row{pure: strings.TrimSpace(cells[2]) == "yes"}
		for may := range strings.SplitSeq(cells[3], ",") {
			if may = strings.Trim(strings.TrimSpace(may), "`"); may != "" {
				r.may = append(r.may, may)
			}
		}
		for name := range strings.SplitSeq(cells[0], ",") {
			rows[strings.Trim(strings.TrimSpace(name), "`")] = r
		}
	}
	if len(rows) < 10 {
		t.Fatalf("only %d packages in the table", len(rows))
	}
	return rows
}

func TestImportsFollowTheTable(t *testing.T) {
	rows := table(t)
	seen := make(map[string]bool)
	err := filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (entry.Name() == "node_modules" || entry.Name() == "benchmarks" || (strings.HasPrefix(entry.Name(), ".") && entry.Name() != "..")) {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		rel, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		pkg := path.Dir(filepath.ToSlash(rel))
		seen[pkg] = true
		r := rows[pkg]
		if r == nil {
			t.Errorf("package %s has no row in docs/ARCHITECTURE.md", pkg)
			return nil
		}
		checkFile(t, file, pkg, r)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range rows {
		if !seen[pkg] {
			t.Errorf("docs/ARCHITECTURE.md has a row for %s, which is not there", pkg)
		}
	}
}

func checkFile(t *testing.T, file, pkg string, r *row) {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		t.Error(err)
		return
	}
	for _, spec := range parsed.Imports {
		name := strings.Trim(spec.Path.Value, `"`)
		if own, ok := strings.CutPrefix(name, module); ok {
			if !slices.Contains(r.may, own) && !slices.Contains(r.may, "everything") {
				t.Errorf("%s: %s may not import %s; if it must, change the table in docs/ARCHITECTURE.md and say why", file, pkg, own)
			}
		}
		if r.pure && slices.Contains(impure, name) && (name != "time" || !slices.Contains(pureTime, pkg)) {
			t.Errorf("%s: %s is pure and imports %s", file, pkg, name)
		}
	}
}
