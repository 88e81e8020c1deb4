package catalog

import (
	"bytes"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// isOwnFile says whether a document is of the registry's own format, be some of its keys mistyped: to pass it over would end
// all that it said before. Other formats have lists of services and teams too, beside what is not known here.
func isOwnFile(root *yaml.Node) bool {
	own, others := 0, 0
	looks, owned := false, false
	for key, list := range fieldsOf(root) {
		listed := list.Kind == yaml.SequenceNode
		kind, exact := ownKind(key.Value)
		if !exact {
			near := ""
			if listed || list.Tag == "!!null" {
				near = nearest(key.Value)
			}
			if kind, _ = ownKind(near); kind == "" {
				others++
				continue
			}
		} else if listed {
			own++
		}
		for _, item := range list.Content {
			if !listed {
				break
			}
			is, has := looksOwn(item, kind)
			looks = looks || exact && is
			owned = owned || is && has
		}
	}
	switch {
	case others == 0:
		return looks || owned
	case others < own:
		return owned
	}
	return false
}

// looksOwn says whether an item tells what it is about, if only by a mistyped key, or who owns that.
func looksOwn(item *yaml.Node, kind Kind) (is, owned bool) {
	names := []string{"name"}
	switch kind {
	case Operation:
		names = []string{"operation"}
	case Path:
		names = []string{"pattern"}
	case Edge:
		names = []string{"edge", "caller"}
	}
	for key := range fieldsOf(item) {
		switch key.Value {
		case "owner", "owners", "accountable":
			is, owned = true, true
		default:
			for _, name := range names {
				is = is || nearly(key.Value, name)
			}
		}
	}
	return is, owned
}

// nearest is the list that a mistyped key stands for, or nothing.
func nearest(key string) string {
	for _, l := range ownLists {
		if nearly(key, l.key) {
			return l.key
		}
	}
	return ""
}

// nearly says whether a key is what was meant, or mistyped: by a letter, or by two in a longer word. Two letters in each
// other's place are one.
func nearly(key, meant string) bool {
	key = strings.ReplaceAll(strings.ToLower(key), "_", "-")
	most := 1
	if len(meant) > 5 {
		most = 2
	}
	if len(key) > len(meant)+most || len(key) < len(meant)-most {
		return false
	}
	before, last, row := make([]int, len(meant)+1), make([]int, len(meant)+1), make([]int, len(meant)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(key); i++ {
		before, last, row = last, row, before
		row[0] = i
		for j := 1; j <= len(meant); j++ {
			other := 1
			if key[i-1] == meant[j-1] {
				other = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+other)
			if i > 1 && j > 1 && key[i-1] == meant[j-2] && key[i-2] == meant[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(meant)] <= most
}

// What tells of a text that is no YAML what it was meant to be.
var (
	marks = [][]*regexp.Regexp{ // each of one format, all of which it has
		{regexp.MustCompile(`(?m)^["' ]*apiVersion["']?[ \t]*:[ \t]*["']?backstage\.io/`)},
		{regexp.MustCompile(`(?m)^schema-version[ \t]*:`), regexp.MustCompile(`(?m)^dd-service[ \t]*:`)},
		{regexp.MustCompile(`(?m)^openapi[ \t]*:`), regexp.MustCompile(`(?m)^[ \t]+x-cortex-tag[ \t]*:`)},
	}
	ownKeyLine = func() *regexp.Regexp {
		keys := make([]string, len(ownLists))
		for i, l := range ownLists {
			keys[i] = l.key
		}
		return regexp.MustCompile(`(?m)^["']?(?:` + strings.Join(keys, "|") + `)["']?[ \t]*:(?:[ \t\r\n]+|\z)(?:#.*\s*)*`)
	}()
	ownItem = regexp.MustCompile(`(?m)[\s{,"'-](?:name|edge|caller|operation|pattern|owners?)["']?[ \t]*:`)
	// mapped begins what is no list: services of Docker's compose files, paths of OpenAPI.
	mapped = regexp.MustCompile(`\A(?:\{|["']?[^\s"'#\[{-][^\n]*?:[ \t]*(?:[&#!{].*)?\r?(?:\n|\z))`)
)

// marked says whether a text that cannot be read was meant to be a catalog.
func marked(text []byte) bool {
	for _, format := range marks {
		all := true
		for _, mark := range format {
			all = all && mark.Match(text)
		}
		if all {
			return true
		}
	}
	if !ownItem.Match(text) {
		return false
	}
	for _, key := range ownKeyLine.FindAllIndex(text, -1) {
		if rest := text[key[1]:]; len(bytes.TrimSpace(rest)) > 0 && !mapped.Match(rest) {
			return true
		}
	}
	return false
}
