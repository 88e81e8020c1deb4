package blame

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// elsewhere are the situations that other layers deal with: the file, and the test in it.
var elsewhere = map[int][2]string{
	68: {"../analyzer_test.go", "TestLateSpansMakeANewVersion"}, // a late span takes a verdict back
}

// situations is how many a blame engine must get right; groups are those that belong together.
const situations = 71

var groups = map[string][2]int{"errors": {1, 46}, "latency": {47, 59}, "clocks and broken traces": {60, 71}}

var tag = regexp.MustCompile(`(?m)^(situation|near miss) (?:of ([a-z-]+)|(\d+)): `)

// tags are what the stories say that their cases stand for: situations, near misses of situations, and
// near misses of rules, with the names of the cases.
func tags(t *testing.T) (situation, nearMiss map[int][]string, ofRule map[string][]string) {
	situation, nearMiss, ofRule = make(map[int][]string), make(map[int][]string), make(map[string][]string)
	for _, c := range corpus(t) {
		for _, m := range tag.FindAllStringSubmatch(string(c.archive.Comment), -1) {
			n, _ := strconv.Atoi(m[3])
			switch {
			case m[2] != "":
				ofRule[m[2]] = append(ofRule[m[2]], c.name)
			case m[1] == "situation":
				situation[n] = append(situation[n], c.name)
			default:
				nearMiss[n] = append(nearMiss[n], c.name)
			}
		}
	}
	return situation, nearMiss, ofRule
}

func TestEverySituationHasACase(t *testing.T) {
	situation, nearMiss, _ := tags(t)
	for n := 1; n <= situations; n++ {
		if at, ok := elsewhere[n]; ok {
			source, err := os.ReadFile(at[0])
			if err != nil || !strings.Contains(string(source), "func "+at[1]+"(") {
				t.Errorf("situation %d: %s has no %s", n, at[0], at[1])
			}
		} else if len(situation[n]) == 0 {
			t.Errorf("no case stands for situation %d", n)
		}
	}
	for name, group := range groups {
		missed := 0
		for n := group[0]; n <= group[1]; n++ {
			missed += len(nearMiss[n])
		}
		if missed < (group[1]-group[0])/2 {
			t.Errorf("%s: only %d near misses", name, missed)
		}
	}
	for n := range nearMiss {
		if n < 1 || n > situations {
			t.Errorf("%s: there is no situation %d", nearMiss[n], n)
		}
	}
}

// TestEveryRuleHasCases: each rule that the code can name has three cases, at least one that it decides
// and at least one that only looks like it; and a row in the documentation.
func TestEveryRuleHasCases(t *testing.T) {
	_, _, nearMiss := tags(t)
	decided := make(map[string]map[string]bool)
	for _, c := range corpus(t) {
		for _, v := range judgeAll(c.traces(t, "trace"), c.config(t)) {
			for _, s := range v.Shares {
				if decided[s.Rule] == nil {
					decided[s.Rule] = make(map[string]bool)
				}
				decided[s.Rule][c.name] = true
			}
		}
	}
	doc, err := os.ReadFile("../../docs/blame.md")
	if err != nil {
		t.Fatal(err)
	}
	rules := rulesOfTheCode(t)
	for _, rule := range slices.Sorted(maps.Keys(rules)) {
		if n, near := len(decided[rule]), len(nearMiss[rule]); n == 0 || near == 0 || n+near < 3 {
			t.Errorf("%s decides %d cases, and %d are near misses of it", rule, n, near)
		}
		if !strings.Contains(string(doc), "`"+rule+"`") {
			t.Errorf("docs/blame.md does not know %s", rule)
		}
	}
	for rule := range decided {
		if !rules[rule] {
			t.Errorf("%s decides a case, and was not found in the code", rule)
		}
	}
	for rule, names := range nearMiss {
		if !rules[rule] {
			t.Errorf("%s: there is no rule %s", names, rule)
		}
	}
}

// TestDocumentedCasesExist: every case that a table or a sentence of the documentation points to is there.
func TestDocumentedCasesExist(t *testing.T) {
	doc, err := os.ReadFile("../../docs/blame.md")
	if err != nil {
		t.Fatal(err)
	}
	rules := rulesOfTheCode(t)
	for _, m := range regexp.MustCompile("`([a-z0-9]+(?:-[a-z0-9]+)+)`").FindAllStringSubmatch(string(doc), -1) {
		if _, err := os.Stat("testdata/" + m[1] + ".txtar"); err != nil && !rules[m[1]] {
			t.Errorf("docs/blame.md names %s, which is neither a rule nor a case", m[1])
		}
	}
}

// rulesOfTheCode finds the names that findings are made with: what base, connect and peer are given,
// and what is assigned to a rule.
func rulesOfTheCode(t *testing.T) map[string]bool {
	rules := make(map[string]bool)
	add := func(e ast.Expr) {
		if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			rule, _ := strconv.Unquote(lit.Value)
			rules[rule] = true
		}
	}
	named := func(e ast.Expr, names ...string) bool {
		switch e := e.(type) {
		case *ast.Ident:
			return slices.Contains(names, e.Name)
		case *ast.SelectorExpr:
			return slices.Contains(names, e.Sel.Name)
		}
		return false
	}
	paths, _ := filepath.Glob("*.go")
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				if named(n.Fun, "base", "connect") && len(n.Args) > 1 {
					add(n.Args[1])
				} else if named(n.Fun, "peer") && len(n.Args) > 0 {
					add(n.Args[0])
				}
			case *ast.AssignStmt:
				for k, left := range n.Lhs {
					if named(left, "rule") && len(n.Rhs) == len(n.Lhs) {
						add(n.Rhs[k])
					}
				}
			}
			return true
		})
	}
	return rules
}
