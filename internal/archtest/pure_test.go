package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// parsePackage parses what a package ships: its files without the tests.
func parsePackage(t *testing.T, pkg string) (*token.FileSet, []*ast.File) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(pkg), "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	set := token.NewFileSet()
	var files []*ast.File
	for _, p := range paths {
		if strings.HasSuffix(p, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(set, p, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	return set, files
}

// touchesTheWorld says whether a package does I/O, waits, or draws lots.
func touchesTheWorld(importPath string) bool {
	switch importPath {
	case "net/url", "net/netip": // parsers
		return false
	case "crypto/rand", "io/ioutil", "plugin", "unique", "testing":
		return true
	}
	first, _, _ := strings.Cut(importPath, "/")
	if slices.Contains([]string{"os", "net", "syscall", "context", "log", "database", "sync"}, first) {
		return true
	}
	return strings.HasPrefix(importPath, "math/rand") || strings.HasPrefix(importPath, "runtime")
}

// parsers are the foreign modules that a pure package may use: they turn bytes into values and no more.
var parsers = []string{"go.opentelemetry.io/collector/pdata/"}

// clock is what of package time asks what time it is, or waits.
var clock = []string{"Now", "Since", "Until", "After", "AfterFunc", "Tick", "Sleep", "NewTimer", "NewTicker"}

// TestPurePackagesArePure looks into the code of the pure packages: for goroutines, channels, clocks
// and foreign modules as well, which the list of their imports does not tell.
func TestPurePackagesArePure(t *testing.T) {
	for pkg, r := range table(t) {
		if !r.pure {
			continue
		}
		set, files := parsePackage(t, pkg)
		for _, file := range files {
			for _, what := range impurities(set, file) {
				t.Errorf("%s; do it in the role that calls it", what)
			}
		}
	}
}

// impurities lists what a file of a pure package must not have.
func impurities(set *token.FileSet, file *ast.File) []string {
	var found []string
	wrong := func(at ast.Node, what string) {
		found = append(found, set.Position(at.Pos()).String()+": a pure package "+what)
	}
	for _, spec := range file.Imports {
		name := strings.Trim(spec.Path.Value, `"`)
		host, _, _ := strings.Cut(name, "/")
		isParser := func(module string) bool { return strings.HasPrefix(name, module) }
		switch {
		case touchesTheWorld(name):
			wrong(spec, "imports "+name)
		case strings.Contains(host, ".") && !strings.HasPrefix(name, module) && !slices.ContainsFunc(parsers, isParser):
			wrong(spec, "imports the foreign module "+name)
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			wrong(n, "starts a goroutine")
		case *ast.ChanType:
			wrong(n, "has a channel")
		case *ast.SelectorExpr:
			if from, ok := n.X.(*ast.Ident); ok && from.Name == "time" && slices.Contains(clock, n.Sel.Name) {
				wrong(n, "looks at the clock")
			}
		}
		return true
	})
	return found
}

// TestImpuritiesAreFound keeps the check itself honest.
func TestImpuritiesAreFound(t *testing.T) {
	for code, want := range map[string]string{
		`import "os/exec"`:                                    "imports os/exec",
		`import "net"`:                                        "imports net",
		`import "log/slog"`:                                   "imports log/slog",
		`import "math/rand/v2"`:                               "imports math/rand/v2",
		`import "github.com/ClickHouse/ch-go"`:                "foreign module",
		`import "time"; var x = time.Now()`:                   "looks at the clock",
		`func f() { go f() }`:                                 "starts a goroutine",
		`var c chan int`:                                      "has a channel",
		`import "time"; var x time.Duration`:                  "",
		`import "net/url"`:                                    "",
		`import "github.com/whosehop/whosehop/otlp"`:          "",
		`import "strings"; var f = strings.ToUpper`:           "",
		`import "go.opentelemetry.io/collector/pdata/ptrace"`: "",
	} {
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, "x.go", "package x; "+code, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		found := strings.Join(impurities(set, file), "; ")
		if (want == "") != (found == "") || !strings.Contains(found, want) {
			t.Errorf("%s: found %q, want %q", code, found, want)
		}
	}
}

// TestArrowsAreUsed fails on an arrow of the table that no import takes: the page would say more than
// is so.
func TestArrowsAreUsed(t *testing.T) {
	for pkg, r := range table(t) {
		used := make(map[string]bool)
		_, files := parsePackage(t, pkg)
		for _, file := range files {
			for _, spec := range file.Imports {
				used[strings.TrimPrefix(strings.Trim(spec.Path.Value, `"`), module)] = true
			}
		}
		for _, may := range r.may {
			if may != "everything" && !used[may] {
				t.Errorf("docs/ARCHITECTURE.md lets %s import %s, which it does not: take the arrow out", pkg, may)
			}
		}
	}
}

// TestDriversAreInStorage: whoever else wants ClickHouse asks package storage.
func TestDriversAreInStorage(t *testing.T) {
	for pkg := range table(t) {
		if pkg == "storage" || pkg == "storage/server" || strings.HasPrefix(pkg, "storage/native") {
			continue
		}
		set, files := parsePackage(t, pkg)
		for _, file := range files {
			for _, spec := range file.Imports {
				if strings.HasPrefix(strings.Trim(spec.Path.Value, `"`), "github.com/ClickHouse/") {
					t.Errorf("%s: a driver outside of storage", set.Position(spec.Pos()))
				}
			}
		}
	}
}
