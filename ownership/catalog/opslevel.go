package catalog

import (
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// OpsLevel reads opslevel.yml, version 1. A file defines a service (a component, by its newer name) or says who owns a
// repository.
func OpsLevel(file string, data []byte) ([]Record, []Problem) {
	return readYAML(newOpsLevel(), file, data)
}

func newOpsLevel() *opsLevelReader {
	return &opsLevelReader{catalogFile: catalogFile{format: "opslevel"}}
}

type opsLevelReader struct{ catalogFile }

func (f *opsLevelReader) document(root *yaml.Node) {
	for _, n := range f.definitions(root) {
		if version := f.text(n, "version"); version != "1" {
			f.wrong(n, "version %q is not known: 1 is", short(version))
			continue
		}
		found := false
		for _, form := range []struct {
			key  string
			read func(*yaml.Node) *Record
		}{
			{"service", f.service},
			{"component", f.service},
			{"repository", f.repository},
			{"team", f.team},
		} {
			for _, one := range f.list(n, form.key) {
				found = true
				if rec := form.read(one); rec != nil {
					f.done = append(f.done, *rec)
				}
			}
		}
		if !found {
			f.wrong(n, "neither a service, a component, a repository nor a team is in it")
		}
		for key := range fieldsOf(n) {
			switch key.Value {
			case "version", "service", "component", "repository", "team":
			default:
				f.wrong(key, "%q is not read: it belongs to no service, component, repository or team", short(key.Value))
			}
		}
	}
}

func (f *opsLevelReader) service(n *yaml.Node) *Record {
	kind := f.text(n, "type")
	rec := f.record(n, catalogKind(kind), text(n, "name"))
	if rec == nil {
		return nil
	}
	rec.Links = addLink(rec.Links, "kind", kind)
	rec.alsoCalled(f.texts(n, "aliases")...)
	rec.alsoCalled(opsLevelAlias(rec.Name))
	rec.Owner = f.text(n, "owner")
	rec.Tier = f.text(n, "tier")
	rec.Lifecycle = f.text(n, "lifecycle")
	rec.Parent = f.text(n, "system")
	rec.DependsOn = f.texts(n, "dependencies", "alias", "service", "name")
	for _, d := range items(n, "dependencies") {
		rec.Links = rest(rec.Links, d, "dependencies.", "alias", "service", "name")
	}
	f.tools(rec, n)
	f.repositories(rec, n)
	for _, s := range f.list(n, "alert_sources") {
		if id := text(s, "external_id"); id != "" && !credential.MatchString(text(s, "type")) {
			rec.place("alerts", "", text(s, "type")+":"+id)
		}
		rec.Links = rest(rec.Links, s, "alert_sources.", "type", "external_id")
	}
	f.tags(rec, n)
	rec.Links = rest(rec.Links, n, "", "name", "type", "owner", "tier", "lifecycle", "system", "aliases", "tags", "repositories",
		"tools", "dependencies", "alert_sources")
	return rec
}

// opsLevelCategories are the categories of tools that the charter has a place for.
var opsLevelCategories = map[string]string{
	"runbooks":      "runbook",
	"incidents":     "on-call",
	"metrics":       "dashboard",
	"observability": "dashboard",
	"code":          "repository",
}

// tools reads links. One of a lower environment never takes a place in the charter.
func (f *opsLevelReader) tools(rec *Record, n *yaml.Node) {
	for _, t := range f.list(n, "tools") {
		category, name, url := text(t, "category"), text(t, "name"), text(t, "url")
		environment := text(t, "environment")
		kind := opsLevelCategories[category]
		switch {
		case at(t, "url") == nil:
			f.wrong(t, "a tool of %s has no url", rec.Name)
		case kind != "" && (environment == "" || strings.HasPrefix(strings.ToLower(environment), "prod")):
			rec.place(kind, name, url)
		default:
			rec.titled(category, strings.Join(strings.Fields(name+" "+environment), " "), url)
		}
		rec.Links = rest(rec.Links, t, "tools.", "category", "name", "url", "environment")
	}
}

// repositories reads where the code is. Several services can be in one repository, each in a folder of its own.
func (f *opsLevelReader) repositories(rec *Record, n *yaml.Node) {
	for _, r := range items(n, "repositories") {
		name := first(text(r), text(r, "name"))
		if name == "" {
			f.wrong(r, "a repository of %s has no name", rec.Name)
			continue
		}
		rec.repository(text(r, "provider"), text(r, "display_name"), name)
		if path := text(r, "path"); path != "/" {
			rec.Links = addLink(rec.Links, "repositories.path", path)
		}
		rec.Links = rest(rec.Links, r, "repositories.", "name", "display_name", "provider", "path")
	}
}

// tags reads fields that the company made up itself.
func (f *opsLevelReader) tags(rec *Record, n *yaml.Node) {
	for _, tag := range items(n, "tags") {
		if tag.Kind == yaml.MappingNode {
			rec.Links = rest(rec.Links, tag, "")
		} else {
			rec.tag(text(tag))
		}
	}
}

// repository reads who owns a repository. It says nothing of which that is: it is the one with the file, and all of it.
func (f *opsLevelReader) repository(n *yaml.Node) *Record {
	rec := &Record{Kind: Path, Pattern: "*", Source: Source{Format: f.format, File: f.name, Line: n.Line}}
	rec.Owner = f.text(n, "owner")
	rec.Tier = f.text(n, "tier")
	f.tags(rec, n)
	rec.Links = rest(rec.Links, n, "", "owner", "tier", "tags")
	if rec.Owner == "" {
		f.wrong(n, "the repository has no owner")
		return nil
	}
	return rec
}

func (f *opsLevelReader) team(n *yaml.Node) *Record {
	rec := f.record(n, Team, text(n, "name"))
	if rec == nil {
		return nil
	}
	rec.alsoCalled(f.texts(n, "aliases")...)
	rec.alsoCalled(opsLevelAlias(rec.Name))
	rec.Parent = first(f.text(n, "parent"), f.text(n, "group"))
	rec.Members = f.texts(n, "members", "email", "name")
	if manager := f.text(n, "manager"); manager != "" {
		rec.Escalation = []string{manager}
	}
	for _, c := range f.list(n, "contacts") {
		address := first(text(c, "address"), text(c, "url"), text(c, "contact"))
		switch kind := text(c, "type"); {
		case address == "":
			f.wrong(c, "a contact of %s says nothing", rec.Name)
		case strings.EqualFold(kind, "email"):
			rec.mail(first(text(c, "display_name"), text(c, "name")), address)
		default:
			rec.place(kind, first(text(c, "display_name"), text(c, "name")), address)
		}
	}
	f.tags(rec, n)
	rec.Links = rest(rec.Links, n, "", "name", "aliases", "parent", "group", "members", "manager", "contacts", "tags")
	return rec
}

var notInAlias = regexp.MustCompile(`[^a-z0-9]+`)

// opsLevelAlias is the alias that OpsLevel makes of a name. Other files refer to it: "Order Processor" is "order_processor".
func opsLevelAlias(name string) string {
	return strings.Trim(notInAlias.ReplaceAllString(strings.ToLower(name), "_"), "_")
}
