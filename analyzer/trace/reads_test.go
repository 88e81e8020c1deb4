package trace_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"testing"

	"github.com/whosehop/whosehop/analyzer/trace"
)

// Whatever the facts are read from must be asked for.
func TestReadsWhatFactsAreReadFrom(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "facts.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	cases := 0
	ast.Inspect(file, func(n ast.Node) bool {
		f, ok := n.(*ast.FuncDecl)
		if ok && f.Name.Name != "readFacts" {
			return false
		}
		if c, ok := n.(*ast.CaseClause); ok {
			for _, e := range c.List {
				if text, ok := e.(*ast.BasicLit); ok && text.Kind == token.STRING {
					cases++
					if key, _ := strconv.Unquote(text.Value); !trace.Reads(key) {
						t.Errorf("%s is read and not asked for", key)
					}
				}
			}
		}
		return true
	})
	if cases < 40 {
		t.Errorf("%d attributes found in readFacts, which reads more", cases)
	}
	if trace.Reads("thread.name") {
		t.Error("thread.name has no part in the judgement")
	}
}
