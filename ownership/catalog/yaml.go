package catalog

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"iter"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// What bounds a YAML file, in time and memory: the parser's own limits hold for decoding into values, not for nodes.
const (
	fileBytesMax  = 64 << 20
	documentsMax  = 100_000
	valuesMax     = 2_000_000 // in one document, as guessed from its punctuation before it is parsed: some 160 bytes each
	textBytesMax  = 64 << 10  // a longer value is dropped
	depthMax      = 100
	aliasedMax    = 100_000 // values that aliases of one document repeat
	textCutAt     = 4096
	nameBytesMax  = 256
	problemsMax   = 100 // of the values of one document, and of what the documents of a file say
	reasonTextMax = 80
)

// yamlReader reads the documents of one format. One reads many files, for they may speak of each other.
type yamlReader interface {
	begin(file string)
	document(root *yaml.Node)
	end() []Problem                 // of the file
	found() int                     // how many records there are by now, of all files
	records() ([]Record, []Problem) // of all files, when they are read
}

// readYAML reads one file with a reader of its own.
func readYAML(r yamlReader, file string, data []byte) ([]Record, []Problem) {
	var problems []Problem
	r.begin(file)
	for root, wrong := range documents(file, data) {
		problems = append(problems, wrong...)
		if root != nil {
			r.document(root)
		}
	}
	problems = append(problems, r.end()...)
	records, more := r.records()
	problems = append(problems, more...)
	slices.SortStableFunc(problems, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
	return records, problems
}

// part is a document of a file, with its text and what is wrong with it.
type part struct {
	text     []byte
	root     *yaml.Node
	problems []Problem
}

// documents are those of a YAML (or JSON) file that are not empty, each with what is wrong with it. One that cannot be
// read has a nil root and one problem, and those after it are read.
//
// A root is free of aliases and merge keys, and its lines are those of the file.
func documents(file string, data []byte) iter.Seq2[*yaml.Node, []Problem] {
	return func(yield func(*yaml.Node, []Problem) bool) {
		for p := range parts(file, data) {
			if !yield(p.root, p.problems) {
				return
			}
		}
	}
}

func parts(file string, data []byte) iter.Seq[part] {
	return func(yield func(part) bool) {
		if len(data) > fileBytesMax {
			yield(part{problems: []Problem{{File: file, Reason: fmt.Sprintf("more than %d bytes: split the file", fileBytesMax)}}})
			return
		}
		line := 1
		for n := 0; len(data) > 0; n++ {
			if n == documentsMax {
				yield(part{problems: []Problem{{file, line, fmt.Sprintf("more than %d documents: split the file", documentsMax)}}})
				return
			}
			text := data[:documentEnd(data)]
			if !noDocument.Match(text) {
				root, problems := document(file, text, line)
				if (root != nil || len(problems) > 0) && !yield(part{text, root, problems}) {
					return
				}
			}
			line += bytes.Count(text, []byte("\n"))
			data = data[len(text):]
		}
	}
}

// noDocument is blank lines, comments and directives.
var noDocument = regexp.MustCompile(`\A(?:\s*(?:[#%].*)?(?:\n|\z))*\z`)

// documentEnd is where the next document begins. The parser cannot go on after an error, so documents are told apart
// before: in YAML no value can have a line that begins with --- or ... of its own.
func documentEnd(data []byte) int {
	for at := 0; ; {
		next := bytes.IndexByte(data[at:], '\n')
		ended := marker(data[at:], "...")
		if next < 0 {
			return len(data)
		}
		at += next + 1
		if ended || marker(data[at:], "---") {
			return at
		}
	}
}

func marker(line []byte, mark string) bool {
	rest, ok := bytes.CutPrefix(line, []byte(mark))
	return ok && (len(rest) == 0 || strings.IndexByte(" \t\r\n", rest[0]) >= 0)
}

// yamlError takes the line out of the parser's messages.
var yamlError = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

func document(file string, text []byte, first int) (root *yaml.Node, problems []Problem) {
	refuse := func(line int, reason string) (*yaml.Node, []Problem) {
		return nil, []Problem{{file, first + max(line, 1) - 1, reason}}
	}
	// The parser panics where it meets a bug of its own.
	defer func() {
		if e := recover(); e != nil {
			root, problems = refuse(0, fmt.Sprintf("not YAML: %v", e))
		}
	}()
	values := 0
	for _, c := range text {
		switch c {
		case ':':
			values += 2
		case ',', '-', '[', '{', '?':
			values++
		}
	}
	if values > valuesMax {
		return refuse(0, fmt.Sprintf("more than %d values in one document: split it", valuesMax))
	}
	var doc yaml.Node
	d := yaml.NewDecoder(bytes.NewReader(text))
	if err := d.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		line := 0
		if m := yamlError.FindStringSubmatch(err.Error()); m != nil {
			line, _ = strconv.Atoi(m[1])
		}
		reason := "not YAML: " + yamlError.ReplaceAllString(err.Error(), "")
		if bytes.Contains(text, []byte("{{")) {
			reason += " (a template? render it first)"
		}
		return refuse(line, reason)
	}
	if len(doc.Content) == 0 || doc.Content[0].Tag == "!!null" {
		return nil, nil
	}
	p := plainer{file: file, first: first, size: make(map[*yaml.Node]int)}
	root, reason := p.plain(doc.Content[0], 0)
	if reason != nil {
		return refuse(reason.Line-first+1, reason.Reason)
	}
	if !errors.Is(d.Decode(new(yaml.Node)), io.EOF) {
		p.wrong(root.Line, "what follows the document is not read: begin it with --- on a line of its own")
	}
	return root, p.problems
}

// plainer makes nodes plain. Aliases become what they stand for, so a tree becomes a graph without cycles, of a bounded
// size when walked as a tree.
type plainer struct {
	file     string
	first    int
	size     map[*yaml.Node]int // of what is done, as a tree; 0 while it is under way
	aliased  int
	problems []Problem
}

func (p *plainer) wrong(line int, format string, args ...any) {
	p.problems = addProblem(p.problems, Problem{p.file, line, fmt.Sprintf(format, args...)})
}

// addProblem adds one to those of a document or a file, unless they are too many.
func addProblem(problems []Problem, p Problem) []Problem {
	switch {
	case len(problems) > problemsMax:
		return problems
	case len(problems) == problemsMax:
		p.Reason = "further problems are not listed"
	}
	return append(problems, p)
}

// plain is the node in place of n. The problem says why the whole document is refused.
func (p *plainer) plain(n *yaml.Node, depth int) (*yaml.Node, *Problem) {
	n.Line += p.first - 1
	if n.Kind == yaml.AliasNode {
		size := p.size[n.Alias]
		if p.aliased += size; size == 0 {
			return nil, &Problem{p.file, n.Line, fmt.Sprintf("anchor %q holds itself", short(n.Value))}
		} else if p.aliased > aliasedMax {
			return nil, &Problem{p.file, n.Line, fmt.Sprintf("aliases repeat more than %d values", aliasedMax)}
		}
		return n.Alias, nil
	}
	if depth > depthMax {
		return nil, &Problem{p.file, n.Line, fmt.Sprintf("nested more than %d deep", depthMax)}
	}
	if len(n.Value) > textBytesMax {
		p.wrong(n.Line, "a value of %d bytes is not read: %d are the most", len(n.Value), textBytesMax)
		n.Value = ""
	}
	p.size[n] = 0
	size := 1
	for i, child := range n.Content {
		plain, reason := p.plain(child, depth+1)
		if reason != nil {
			return nil, reason
		}
		n.Content[i] = plain
		size += p.size[plain]
	}
	if n.Kind == yaml.MappingNode {
		p.merge(n)
	}
	p.size[n] = size
	return n, nil
}

// merge puts the fields of merge keys in their place, and leaves out fields that are given again.
func (p *plainer) merge(n *yaml.Node) {
	seen := make(map[string]bool, len(n.Content)/2)
	var merged, fields []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch {
		case key.Kind != yaml.ScalarNode:
			p.wrong(key.Line, "a key that is not a text is not read (a template?)")
		case key.Tag == "!!merge" && value.Kind == yaml.SequenceNode:
			merged = append(merged, value.Content...)
		case key.Tag == "!!merge":
			merged = append(merged, value)
		case seen[key.Value]:
			p.wrong(key.Line, "%q is given twice: the first is read", short(key.Value))
		default:
			seen[key.Value] = true
			fields = append(fields, key, value)
		}
	}
	for _, m := range merged {
		for key, value := range fieldsOf(m) {
			if !seen[key.Value] {
				seen[key.Value] = true
				fields = append(fields, key, value)
			}
		}
	}
	n.Content = fields
}

// fieldsOf are the fields of a mapping, and none of anything else.
func fieldsOf(n *yaml.Node) iter.Seq2[*yaml.Node, *yaml.Node] {
	return func(yield func(key, value *yaml.Node) bool) {
		if n == nil || n.Kind != yaml.MappingNode {
			return
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			if !yield(n.Content[i], n.Content[i+1]) {
				return
			}
		}
	}
}

// at is the node under a path of keys, or nil.
func at(n *yaml.Node, path ...string) *yaml.Node {
	for _, want := range path {
		var found *yaml.Node
		for key, value := range fieldsOf(n) {
			if key.Value == want {
				found = value
				break
			}
		}
		if n = found; n == nil {
			return nil
		}
	}
	return n
}

// text is the scalar under a path of keys, trimmed, cut and without credentials, or empty.
func text(n *yaml.Node, path ...string) string {
	n = at(n, path...)
	if n == nil || n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		return ""
	}
	return cut(tidy(n.Value), textCutAt)
}

// tidy is a text without blanks around it and credentials in it.
func tidy(s string) string { return strings.TrimSpace(public(s)) }

// items are the elements of the list under a path of keys; a value that is no list is one element.
func items(n *yaml.Node, path ...string) []*yaml.Node {
	switch n = at(n, path...); {
	case n == nil || n.Tag == "!!null":
		return nil
	case n.Kind == yaml.SequenceNode:
		return n.Content
	}
	return []*yaml.Node{n}
}

// short cuts a text that is quoted in a problem.
func short(s string) string { return cut(s, reasonTextMax) }

// cut cuts a text, and leaves one alone that it has cut before.
func cut(s string, bytesMax int) string {
	const mark = "…"
	if len(s) <= bytesMax || len(s) <= bytesMax+len(mark) && strings.HasSuffix(s, mark) {
		return s
	}
	for !utf8.RuneStart(s[bytesMax]) {
		bytesMax--
	}
	return s[:bytesMax] + mark
}

// unnamed says what is wrong with the name or the namespace in the metadata of a thing, or nothing.
func unnamed(metadata *yaml.Node) string {
	reason := validName(text(metadata, "name"))
	if namespace := text(metadata, "namespace"); reason == "" && namespace != "" {
		reason = strings.Replace(validName(namespace), "name", "namespace", 1)
	}
	return reason
}

// validName says what is wrong with the name of a thing, or nothing.
func validName(name string) string {
	switch {
	case name == "":
		return "has no name"
	case len(name) > nameBytesMax:
		return fmt.Sprintf("has a name of %d bytes: %d are the most", len(name), nameBytesMax)
	case strings.Contains(name, "{{"):
		return fmt.Sprintf("has a template for a name: %q", short(name))
	}
	return ""
}
