package catalog

import (
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Cortex reads cortex.yaml: an OpenAPI 3 document whose info says whose it is. What is not of the info is the API's, and
// is not read.
func Cortex(file string, data []byte) ([]Record, []Problem) {
	return readYAML(newCortex(), file, data)
}

func newCortex() *cortexReader {
	return &cortexReader{catalogFile: catalogFile{format: "cortex"}, parents: make(map[string]string)}
}

type cortexReader struct {
	catalogFile
	parents map[string]string // by the tag of a child
}

func (f *cortexReader) document(root *yaml.Node) {
	for _, n := range f.definitions(root) {
		version := f.text(n, "openapi")
		info := f.mapping(n, "info")
		switch {
		case !strings.HasPrefix(version, "3"):
			f.wrong(n, "openapi is %q: a descriptor of Cortex's catalog has 3", short(version))
		case info == nil:
			f.wrong(n, "there is no info")
		default:
			f.entity(info)
		}
	}
}

func (f *cortexReader) records() ([]Record, []Problem) {
	for i := range f.done {
		if rec := &f.done[i]; rec.Parent == "" {
			rec.Parent = f.parents[rec.Name]
		}
	}
	return f.done, nil
}

// cortexFields are the fields of the info that have a place in a record.
var cortexFields = []string{
	"title", "x-cortex-tag", "x-cortex-type", "x-cortex-owners", "x-cortex-oncall", "x-cortex-slack", "x-cortex-git",
	"x-cortex-groups", "x-cortex-service-groups", "x-cortex-link", "x-cortex-dependency", "x-cortex-parents",
	"x-cortex-domain-parents", "x-cortex-team", "x-cortex-dashboards", "x-cortex-slos",
}

func (f *cortexReader) entity(n *yaml.Node) {
	title := f.text(n, "title")
	kind := f.text(n, "x-cortex-type")
	rec := f.record(n, catalogKind(kind), first(text(n, "x-cortex-tag"), title))
	if rec == nil {
		return
	}
	rec.alsoCalled(title)
	f.owners(rec, n)
	f.onCall(rec, n)
	for _, c := range items(n, "x-cortex-slack", "channels") {
		rec.place("chat", "slack", cortexChannel(c))
	}
	f.git(rec, n)
	f.groups(rec, n)
	for _, l := range f.list(n, "x-cortex-link") {
		if at(l, "url") == nil {
			f.wrong(l, "a link of %s has no url", rec.Name)
		}
		rec.place(text(l, "type"), text(l, "name"), text(l, "url"))
		rec.Links = rest(rec.Links, l, "x-cortex-link.", "type", "name", "url")
	}
	rec.DependsOn = f.texts(n, "x-cortex-dependency", "tag")
	for _, d := range items(n, "x-cortex-dependency") {
		rec.Links = rest(rec.Links, d, "x-cortex-dependency.", "tag")
	}
	f.family(rec, n)
	f.team(rec, n)
	f.health(rec, n)
	rec.Links = addLink(rec.Links, "kind", kind)
	rec.Links = rest(rec.Links, n, "", cortexFields...)
	f.done = append(f.done, *rec)
}

// owners reads groups before people, and the channel as a place to talk: it owns nothing.
func (f *cortexReader) owners(rec *Record, n *yaml.Node) {
	var people []string
	for _, o := range items(n, "x-cortex-owners") {
		name, email := text(o, "name"), text(o, "email")
		switch kind := strings.ToLower(text(o, "type")); {
		case kind == "group" && name != "":
			rec.addOwner(cortexGroup(name))
			if name != cortexGroup(name) {
				rec.Links = addLink(rec.Links, "x-cortex-owners.name", name)
			}
		case kind == "email" && email != "":
			people = append(people, email)
			rec.mail("", email)
		case kind == "slack" && text(o, "channel") != "":
			rec.place("chat", "slack", cortexChannel(at(o, "channel")))
		default:
			f.wrong(o, "an item of x-cortex-owners of %s is no group with a name, email with an email or slack with a channel", rec.Name)
			continue
		}
		rec.Links = rest(rec.Links, o, "x-cortex-owners.", "type", "name", "email", "channel", "notificationsEnabled", "inheritance")
	}
	for _, p := range people {
		rec.addOwner(p)
	}
}

// cortexGroup is a group without the organization that it is of: GitHub's are "org/team".
func cortexGroup(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }

// cortexChannel is the name of a channel, as people write it: a list has names or mappings with a name.
func cortexChannel(n *yaml.Node) string {
	name := first(text(n), text(n, "name"))
	if name == "" || strings.HasPrefix(name, "#") || strings.Contains(name, "://") {
		return name
	}
	return "#" + name
}

func (f *cortexReader) onCall(rec *Record, n *yaml.Node) {
	for tool, v := range fieldsOf(f.mapping(n, "x-cortex-oncall")) {
		id := first(text(v), text(v, "id"))
		if id == "" {
			f.wrong(tool, "x-cortex-oncall of %s has no id", rec.Name)
			continue
		}
		if credential.MatchString(tool.Value) {
			continue
		}
		id = cortexTool(tool.Value) + ":" + id
		if kind := text(v, "type"); strings.EqualFold(kind, "escalation_policy") {
			rec.Escalation = append(rec.Escalation, id)
		}
		rec.place("on-call", tool.Value, id)
		rec.Links = rest(rec.Links, v, "x-cortex-oncall."+tool.Value+".", "id")
	}
}

// cortexTool is the name that a tool has now.
func cortexTool(name string) string {
	if name == "victorops" {
		return "splunk-on-call"
	}
	return name
}

func (f *cortexReader) git(rec *Record, n *yaml.Node) {
	for host, v := range fieldsOf(f.mapping(n, "x-cortex-git")) {
		repository := first(text(v), text(v, "repository"))
		if project := text(v, "project"); project != "" && repository != "" {
			repository = project + "/" + repository
		}
		if repository == "" {
			f.wrong(host, "x-cortex-git of %s has no repository", rec.Name)
			continue
		}
		rec.repository(host.Value, "", repository)
		rec.Links = rest(rec.Links, v, "x-cortex-git."+host.Value+".", "repository", "project")
	}
}

// cortexTier is how groups say how much depends on it: a descriptor has no field for that.
var cortexTier = regexp.MustCompile(`(?i)^tier[-_: ]?(\w+)$`)

func (f *cortexReader) groups(rec *Record, n *yaml.Node) {
	for _, group := range append(f.texts(n, "x-cortex-groups", "tag", "name"), f.texts(n, "x-cortex-service-groups", "tag", "name")...) {
		if m := cortexTier.FindStringSubmatch(group); m != nil && rec.Tier == "" {
			rec.Tier = m[1]
		} else {
			rec.tag(group)
		}
	}
}

// family reads what it is a part of, and what is a part of it.
func (f *cortexReader) family(rec *Record, n *yaml.Node) {
	for _, list := range []string{"x-cortex-domain-parents", "x-cortex-parents"} {
		for _, parent := range f.texts(n, list, "tag") {
			if rec.Parent == "" {
				rec.Parent = parent
			} else if rec.Parent != parent {
				rec.Links = addLink(rec.Links, list, parent)
			}
		}
	}
	for _, child := range f.texts(n, "x-cortex-children", "tag") {
		f.parents[child] = rec.Name
	}
}

func (f *cortexReader) team(rec *Record, n *yaml.Node) {
	team := f.mapping(n, "x-cortex-team")
	rec.Members = f.texts(team, "members", "email", "name")
	for _, c := range items(team, "slackChannels") {
		rec.place("chat", "slack", cortexChannel(c))
	}
	for _, g := range items(team, "groups") {
		rec.alsoCalled(cortexGroup(first(text(g), text(g, "name"))))
	}
	rec.Links = rest(rec.Links, team, "x-cortex-team.", "members", "slackChannels", "groups")
}

// health reads dashboards and objectives.
func (f *cortexReader) health(rec *Record, n *yaml.Node) {
	dashboards := f.mapping(n, "x-cortex-dashboards")
	for _, d := range f.list(dashboards, "embeds") {
		rec.place("dashboard", text(d, "type"), text(d, "url"))
	}
	rec.Links = rest(rec.Links, dashboards, "x-cortex-dashboards.", "embeds")
	for tool, v := range fieldsOf(f.mapping(n, "x-cortex-slos")) {
		for _, slo := range items(v) {
			if id := first(text(slo), text(slo, "id"), text(slo, "name"), text(slo, "alias")); id != "" && rec.SLO == "" {
				rec.SLO = tool.Value + ":" + id
				continue
			}
			rec.Links = leaves(rec.Links, "x-cortex-slos."+tool.Value, slo, 0)
		}
	}
}
