package catalog

import (
	"fmt"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// read is a file's documents, one text each, and its problems.
func read(data string) (docs, problems []string) {
	for root, wrong := range documents("f", []byte(data)) {
		for _, p := range wrong {
			problems = append(problems, fmt.Sprintf("%d: %s", p.Line, p.Reason))
		}
		if root != nil {
			out, _ := yaml.Marshal(root)
			docs = append(docs, fmt.Sprintf("%d: %s", root.Line, strings.Join(strings.Fields(string(out)), " ")))
		}
	}
	return docs, problems
}

func TestDocuments(t *testing.T) {
	for _, c := range []struct{ name, file, docs, problems string }{
		{"none", "", "", ""},
		{"blank", "\n---\n# nothing\n---\n", "", ""},
		{"one", "a: 1", "1: a: 1", ""},
		{"directive", "%YAML 1.2\n---\na: 1\n", "3: a: 1", ""},
		{"json", `{"a": [1, 2]}`, `1: {"a": [1, 2]}`, ""},
		{"two", "a: 1\n--- \nb: 2\n...\nc: 3\n", "1: a: 1|3: b: 2|5: c: 3", ""},
		{"windows", "---\r\na: 1\r\n---\r\nb: 2\r\n", "2: a: 1|4: b: 2", ""},
		{"on the marker's line", "--- {a: 1}\n---\tb\n", "1: {a: 1}|2: b", ""},
		{"the others go on", "a: 1\n---\nb: [\n---\nc: 3\n", "1: a: 1|5: c: 3", "3: not YAML: did not find expected node content"},
		{"a template", "---\n{{- if .x }}\na: 1\n{{ end }}\n---\nb: 2\n", "6: b: 2", "1: not YAML: did not find expected node content (a template? render it first)"},
		{"not UTF-8", "a: \xff\n---\nb: 2", "3: b: 2", "1: not YAML: invalid leading UTF-8 octet"},
		{"given twice", "a: 1\nb: 2\na: 3\n", "1: a: 1 b: 2", `3: "a" is given twice: the first is read`},
		{"a mapping for a key", "{a: 1}: 2\nb: 3", "1: b: 3", "1: a key that is not a text is not read (a template?)"},
		{"lines in a block", "a: |\n  x\n  --- y\nb: 2\n---\nc: 3\n", "1: a: | x --- y b: 2|6: c: 3", ""},
		{"other breaks", "a: 1\r---\rb: 2\r", "1: a: 1", "1: what follows the document is not read: begin it with --- on a line of its own"},
		{"alias", "a: &x {k: v}\nb: *x\n", "1: a: &x {k: v} b: &x {k: v}", ""},
		{
			"merge", "x: &x {k: v, l: w}\ny: &y {m: z, k: no}\nb: {<<: [*x, *y], l: own}\n",
			"1: x: &x {k: v, l: w} y: &y {m: z, k: no} b: {l: own, k: v, m: z}", "",
		},
		{"anchor in itself", "x: 1\na: &a [*a]\n---\nb: 2", "4: b: 2", `2: anchor "a" holds itself`},
		{"anchor in its merge", "a: &a {<<: *a}\n", "", `1: anchor "a" holds itself`},
		{"no such anchor", "a: *b\n", "", "1: not YAML: unknown anchor 'b' referenced"},
	} {
		t.Run(c.name, func(t *testing.T) {
			docs, problems := read(c.file)
			if got := strings.Join(docs, "|"); got != c.docs {
				t.Errorf("documents\n got %s\nwant %s", got, c.docs)
			}
			if got := strings.Join(problems, "|"); got != c.problems {
				t.Errorf("problems\n got %s\nwant %s", got, c.problems)
			}
		})
	}
}

func TestProblemsAreBounded(t *testing.T) {
	_, problems := read(strings.Repeat("a: 1\n", 1000))
	if len(problems) != problemsMax+1 || problems[problemsMax] != "102: further problems are not listed" {
		t.Errorf("%d problems, the last %q", len(problems), problems[len(problems)-1])
	}
}

// bomb is nine levels of nine aliases each.
func bomb(item string) string {
	var b strings.Builder
	b.WriteString("l0: &l0 " + item + "\n")
	for i := 1; i < 10; i++ {
		fmt.Fprintf(&b, "l%d: &l%d [%s]\n", i, i, strings.Repeat(fmt.Sprintf("*l%d,", i-1), 9))
	}
	return b.String()
}

func TestDocumentsAreBounded(t *testing.T) {
	var merges strings.Builder
	merges.WriteString("m0: &m0 {k: v}\n")
	for i := 1; i < 60; i++ {
		fmt.Fprintf(&merges, "m%d: &m%d {k%d: *m%d, <<: *m%d}\n", i, i, i, i-1, i-1)
	}
	for _, c := range []struct{ name, file, problem string }{
		{"bomb", bomb("lol"), "7: aliases repeat more than 100000 values"},
		{"bomb of merges", merges.String(), "15: aliases repeat more than 100000 values"},
		{"deep", strings.Repeat("[", 200) + strings.Repeat("]", 200), "1: nested more than 100 deep"},
		{"deeper", strings.Repeat("[", 1<<20), "1: not YAML: exceeded max depth of 10000"},
		{"deep in blocks", strings.Repeat("- ", 1<<20), "1: not YAML: exceeded max depth of 10000"},
		{"many values", "[" + strings.Repeat(",", valuesMax+1) + "]", "1: more than 2000000 values in one document: split it"},
		{"large value", "a: " + strings.Repeat("x", 1<<20), "1: a value of 1048576 bytes is not read: 65536 are the most"},
		{"large name", strings.Repeat("x", 1<<20) + ": 1", "1: not YAML: mapping values are not allowed in this context"},
		{"large file", strings.Repeat("\n", fileBytesMax+1), "0: more than 67108864 bytes: split the file"},
		{"many documents", strings.Repeat("--- 1\n", documentsMax+1), "100001: more than 100000 documents: split the file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, problems := read(c.file + "\n")
			if len(problems) != 1 || problems[0] != c.problem {
				t.Errorf("got %.200q, want %q", problems, c.problem)
			}
		})
	}
}
