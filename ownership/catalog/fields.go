package catalog

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// catalogFile is what readers of catalogs share: the file that they are in, what is wrong with it, and the records of all files.
type catalogFile struct {
	format, name string
	problems     []Problem
	done         []Record
}

func (f *catalogFile) found() int { return len(f.done) }

func (f *catalogFile) records() ([]Record, []Problem) { return f.done, nil }

func (f *catalogFile) begin(file string) { f.name, f.problems = file, nil }

func (f *catalogFile) end() []Problem { return f.problems }

func (f *catalogFile) wrong(n *yaml.Node, format string, args ...any) {
	f.problems = addProblem(f.problems, Problem{f.name, n.Line, fmt.Sprintf(format, args...)})
}

// definitions are the mappings of a document: itself, or the items of its list.
func (f *catalogFile) definitions(root *yaml.Node) []*yaml.Node {
	var all []*yaml.Node
	for _, n := range items(root) {
		if n.Kind != yaml.MappingNode {
			f.wrong(n, "a definition is a mapping of fields, this is %q", short(n.Value))
			continue
		}
		spellPairs(n)
		all = append(all, n)
	}
	return all
}

// record is a new one of what is defined at n. It is nil when the name cannot be one.
func (f *catalogFile) record(n *yaml.Node, kind Kind, name string) *Record {
	if reason := validName(name); reason != "" {
		f.wrong(n, "the %s %s", kind, reason)
		return nil
	}
	return &Record{Kind: kind, Name: name, Source: Source{Format: f.format, File: f.name, Line: n.Line}}
}

// text is that of a field. A field that is set and has none, or one too long, is a problem.
func (f *catalogFile) text(n *yaml.Node, key string) string {
	v := at(n, key)
	t := text(v)
	switch {
	case v != nil && v.Kind != yaml.ScalarNode:
		f.wrong(v, "%s is not a text", key)
	case len(t) > linkBytesMax:
		f.wrong(v, "%s has %d bytes: %d are the most", key, len(t), linkBytesMax)
		return ""
	}
	return t
}

// mapping is the one under a key, and nil, with a problem, when something else is there.
func (f *catalogFile) mapping(n *yaml.Node, key string) *yaml.Node {
	v := at(n, key)
	if v == nil || v.Tag == "!!null" {
		return nil
	}
	if v.Kind != yaml.MappingNode {
		f.wrong(v, "%s is not a mapping of fields", key)
		return nil
	}
	return v
}

// list are the mappings of a list.
func (f *catalogFile) list(n *yaml.Node, key string) []*yaml.Node {
	var all []*yaml.Node
	for _, item := range items(n, key) {
		if item.Kind == yaml.MappingNode {
			all = append(all, item)
		} else {
			f.wrong(item, "an item of %s is not a mapping of fields", key)
		}
	}
	return all
}

// texts are those of a list, where an item that is a mapping counts by the first of its keys that is set.
func (f *catalogFile) texts(n *yaml.Node, list string, keys ...string) []string {
	var all []string
	for _, item := range items(n, list) {
		name := text(item)
		for _, key := range keys {
			if name == "" {
				name = text(item, key)
			}
		}
		if name == "" {
			f.wrong(item, "an item of %s names nothing", list)
		} else if len(name) > linkBytesMax {
			f.wrong(item, "an item of %s has %d bytes: %d are the most", list, len(name), linkBytesMax)
		} else {
			all = append(all, name)
		}
	}
	return all
}

// addOwner adds an owner. The first is the owner, the others are beside it.
func (r *Record) addOwner(name string) {
	switch {
	case name == "" || name == r.Owner || slices.Contains(r.Owners, name):
	case r.Owner == "":
		r.Owner = name
	default:
		r.Owners = append(r.Owners, name)
	}
}

// alsoCalled adds names that the thing also goes by.
func (r *Record) alsoCalled(names ...string) {
	for _, name := range names {
		if validName(name) == "" && name != r.Name && !slices.Contains(r.Aliases, name) {
			r.Aliases = append(r.Aliases, name)
		}
	}
}

// mail sets the address, of several the first.
func (r *Record) mail(title, address string) {
	if r.Email == "" {
		r.Email = address
	} else if address != r.Email {
		r.titled("email", title, address)
	}
}

// tag keeps a tag as a link: "cost-center:checkout" is a field in disguise, and its name may be that of a credential.
func (r *Record) tag(tag string) {
	name, value, ok := strings.Cut(tag, ":")
	if !ok || name == "" || strings.HasPrefix(value, "//") {
		name, value = "tag", tag
	}
	r.link(name, value)
}

// catalogKind is what a catalog's word for a kind means. What is not one of ours, like a library, is a service: it has an
// owner as well and may be depended on, and its link "kind" tells what it is.
func catalogKind(word string) Kind {
	switch strings.ToLower(word) {
	case "datastore", "database", "db", "cache":
		return Datastore
	case "queue", "topic", "stream":
		return Queue
	case "external", "vendor":
		return ThirdParty
	case "team", "user", "employee":
		return Team
	case "api":
		return API
	case "system", "application", "domain":
		return System
	}
	return Service
}

// codeHosts are where the repositories are that are named without their host.
var codeHosts = map[string]string{
	"github":    "https://github.com/",
	"gitlab":    "https://gitlab.com/",
	"bitbucket": "https://bitbucket.org/",
}

// repository sets where the code is. Sources repeat that, in several spellings.
func (r *Record) repository(host, title, name string) {
	name = strings.TrimSuffix(name, ".git")
	switch base := codeHosts[host]; {
	case name == "" || host == "" || strings.Contains(name, "://"):
	case base == "":
		name = host + ":" + name
	default:
		name = base + name
	}
	if name != r.Repository {
		r.place("repository", title, name)
	}
}

// spellPairs makes one field of a key and a value that are written as two: a secret is known by its key alone.
func spellPairs(n *yaml.Node) {
	if n.Kind == yaml.MappingNode {
		value := at(n, "value")
		key := at(n, "key")
		if key == nil {
			key = at(n, "name")
		}
		if key != nil && key.Kind == yaml.ScalarNode && key.Value != "" && value != nil {
			content := []*yaml.Node{key, value}
			for k, v := range fieldsOf(n) {
				if v != key && v != value {
					content = append(content, k, v)
				}
			}
			n.Content = content
		}
	}
	for _, child := range n.Content {
		spellPairs(child)
	}
}
