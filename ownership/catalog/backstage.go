package catalog

import (
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// listMax bounds the references of one field: the members of a large company's largest group.
const listMax = 10_000

// Backstage reads a catalog-info.yaml.
//
// A component is a service, a resource what its type says, and a domain a system of systems; the links "kind" and
// "spec.type" say what it was. Groups and users are teams. Locations and templates are about other files and say nothing
// of owners.
func Backstage(file string, data []byte) ([]Record, []Problem) {
	return readYAML(newBackstage(), file, data)
}

func newBackstage() *backstageReader {
	return &backstageReader{catalogFile: catalogFile{format: "backstage"}}
}

type backstageReader struct{ catalogFile }

func (f *backstageReader) document(root *yaml.Node) {
	e := entity{Record: Record{Source: Source{Format: f.format, File: f.name, Line: root.Line}}, root: root, file: &f.catalogFile}
	if e.read() {
		f.done = append(f.done, e.Record)
	}
}

// entity is a document of Backstage while it is read.
type entity struct {
	Record
	root *yaml.Node
	file *catalogFile
}

func (e *entity) wrong(n *yaml.Node, format string, args ...any) {
	if n == nil {
		n = e.root
	}
	e.file.wrong(n, format, args...)
}

func (e *entity) read() bool {
	version, kind := text(e.root, "apiVersion"), text(e.root, "kind")
	if kind == "Location" || kind == "Template" {
		return false
	}
	if !strings.HasPrefix(version, "backstage.io/") {
		e.wrong(at(e.root, "apiVersion"), "apiVersion %q is not Backstage's: not read", short(version))
		return false
	}
	e.Name, e.Namespace = text(e.root, "metadata", "name"), text(e.root, "metadata", "namespace")
	if reason := unnamed(at(e.root, "metadata")); reason != "" {
		e.wrong(at(e.root, "metadata", "name"), "%s %s: not read", cut(first(kind, "an entity"), reasonTextMax), reason)
		return false
	}
	if e.Namespace == "default" { // Backstage's word for none
		e.Namespace = ""
	}
	e.Links = addLink(e.Links, "kind", kind)
	spec := at(e.root, "spec")
	spellPairs(e.root)
	switch kind {
	case "Component", "API", "System", "Domain":
		e.Kind = catalogKind(kind)
		e.owned(spec)
	case "Resource":
		e.Kind = kindOf(text(spec, "type"), Service)
		e.owned(spec)
	case "Group", "User":
		e.Kind = Team
		e.team(spec)
	default:
		e.wrong(at(e.root, "kind"), "kind %q is not known: not read", short(kind))
		return false
	}
	e.metadata(at(e.root, "metadata"))
	e.Links = rest(e.Links, e.root, "", "apiVersion", "kind", "metadata", "spec")
	return true
}

// owned reads the spec of what has an owner.
func (e *entity) owned(spec *yaml.Node) {
	for _, owner := range e.references(spec, "owner", "group", "user") {
		if !Nobody(owner) {
			e.addOwner(owner)
		}
	}
	for _, field := range []string{"system", "subcomponentOf", "domain", "subdomainOf"} {
		for _, above := range e.references(spec, field) {
			if e.Parent == "" {
				e.Parent = above
			} else {
				e.Links = addLink(e.Links, "spec."+field, above)
			}
		}
	}
	e.DependsOn = append(e.references(spec, "dependsOn"), e.references(spec, "consumesApis", "api")...)
	e.Contract = cut(strings.Join(e.references(spec, "providesApis", "api"), ", "), linkBytesMax)
	e.Lifecycle, e.Tier = text(spec, "lifecycle"), text(spec, "tier")
	// A definition is either a whole API, which is not kept, or says where it stands.
	for key, value := range fieldsOf(at(spec, "definition")) {
		if strings.HasPrefix(key.Value, "$") {
			e.Contract = cut(text(value), linkBytesMax)
		}
	}
	e.Links = rest(e.Links, spec, "spec.", "owner", "system", "subcomponentOf", "domain", "subdomainOf", "dependsOn",
		"consumesApis", "providesApis", "lifecycle", "tier", "definition")
}

// team reads the spec of a group or a user.
func (e *entity) team(spec *yaml.Node) {
	e.Email = text(spec, "profile", "email")
	e.Members = e.references(spec, "members", "user")
	for _, field := range []string{"parent", "memberOf"} {
		for _, above := range e.references(spec, field, "group") {
			if e.Parent == "" {
				e.Parent = above
			} else {
				e.Links = addLink(e.Links, "spec."+field, above)
			}
		}
	}
	e.Links = rest(e.Links, spec, "spec.", "members", "parent", "memberOf", "profile")
	e.Links = rest(e.Links, at(spec, "profile"), "spec.profile.", "email")
}

// reference is [kind:][namespace/]name.
var reference = regexp.MustCompile(`^(?:([^:/]+):)?(?:[^:/]+/)?([^:/]+)$`)

// references are the names that a field refers to. Their kind, where it is given, must be one of the kinds, where there
// are any.
func (e *entity) references(spec *yaml.Node, field string, kinds ...string) []string {
	var names []string
	seen := make(map[string]bool)
	for _, item := range items(spec, field) {
		ref := text(item)
		m := reference.FindStringSubmatch(ref)
		switch {
		case ref == "" && item.Kind == yaml.ScalarNode:
		case m == nil || validName(m[2]) != "":
			e.wrong(item, "spec.%s: %q is not a reference of the form [kind:][namespace/]name", field, short(ref))
		case m[1] != "" && len(kinds) > 0 && !slices.Contains(kinds, strings.ToLower(m[1])):
			e.wrong(item, "spec.%s: %q is not a %s", field, short(ref), strings.Join(kinds, " or a "))
		case len(names) == listMax:
			e.wrong(item, "spec.%s: more than %d references: the others are not read", field, listMax)
			return names
		case !seen[m[2]]:
			seen[m[2]] = true
			names = append(names, m[2])
		}
	}
	return names
}

// onCallTools are annotations that say where on-call is found, best first, with the tool's name.
var onCallTools = []struct{ annotation, tool string }{
	{"pagerduty.com/service-id", "pagerduty:"},
	{"opsgenie.com/team", "opsgenie:"},
	{"splunk.com/on-call-team", "splunk-on-call:"},
	{"victorops.com/team", "splunk-on-call:"},
	{"rootly.com/service-id", "rootly:"},
	{"rootly.com/service-slug", "rootly:"},
	{"firehydrant.com/service-name", "firehydrant:"},
	{"squadcast.com/service-id", "squadcast:"},
}

// hosts are annotations that name a repository.
var hosts = []struct{ annotation, url string }{
	{"backstage.io/source-location", ""},
	{"github.com/project-slug", "https://github.com/"},
	{"gitlab.com/project-slug", "https://gitlab.com/"},
	{"bitbucket.org/project-slug", "https://bitbucket.org/"},
	{"backstage.io/view-url", ""},
}

// sameAs are annotations that name the same thing elsewhere: a workload, a service in traces, the handle of a team.
func sameAs(k Kind) []string {
	if k == Team {
		return []string{"github.com/team-slug", "gitlab.com/group-full-path"}
	}
	return []string{"backstage.io/kubernetes-id", "datadoghq.com/service-name"}
}

func (e *entity) metadata(m *yaml.Node) {
	notes := at(m, "annotations")
	var known []string
	take := func(annotation string) string {
		known = append(known, annotation)
		return text(notes, annotation)
	}
	for _, c := range onCallTools {
		if id := text(notes, c.annotation); id != "" && e.OnCall == "" {
			e.OnCall = c.tool + take(c.annotation)
		}
	}
	for _, h := range hosts {
		if at := strings.TrimPrefix(text(notes, h.annotation), "url:"); at != "" && e.Repository == "" {
			take(h.annotation)
			e.Repository = h.url + at
		}
	}
	for _, annotation := range sameAs(e.Kind) {
		name := take(annotation)
		e.alsoCalled(name)
		if e.Kind == Team { // as CODEOWNERS has it
			handle, _ := mention("@" + name)
			e.alsoCalled(handle)
		}
	}
	for _, item := range items(m, "links") {
		e.place(text(item, "type"), text(item, "title"), text(item, "url"))
	}
	selector := take("grafana/dashboard-selector")
	if key, value := tier(at(m, "labels"), notes); e.Tier == "" {
		e.Tier, known = value, append(known, key)
	}
	for key, value := range fieldsOf(notes) {
		target := text(value)
		switch {
		case slices.Contains(known, key.Value) || credential.MatchString(key.Value):
		case strings.Contains(target, "://") || strings.HasPrefix(target, "#"):
			e.place(key.Value, "", target)
		default:
			e.Links = leaves(e.Links, key.Value, value, 0)
		}
	}
	switch {
	case selector == "":
	case e.Dashboard == "":
		e.Dashboard = "grafana:" + selector
	default:
		e.Links = addLink(e.Links, "grafana/dashboard-selector", selector)
	}
	e.Links = rest(e.Links, at(m, "labels"), "", known...)
	e.Links = rest(e.Links, m, "metadata.", "name", "namespace", "annotations", "labels", "links")
}

// tier is the first label that says how much depends on a thing.
func tier(labels ...*yaml.Node) (key, value string) {
	for _, l := range labels {
		for key, value := range fieldsOf(l) {
			switch key.Value[strings.LastIndexByte(key.Value, '/')+1:] {
			case "tier", "criticality", "service-tier":
				return key.Value, text(value)
			}
		}
	}
	return "", ""
}

// Nobody tells the words for an owner that is none, in catalogs and in the attributes of spans.
func Nobody(owner string) bool {
	const longest = len("no-owner")
	if len(owner) > longest {
		return false
	}
	switch strings.ToLower(owner) {
	case "", "-", "none", "no owner", "no-owner", "n/a", "nobody", "tbd", "unknown", "unowned":
		return true
	}
	return false
}

// kindOf is what the type of a resource says by the words that are common for it.
func kindOf(kind string, otherwise Kind) Kind {
	switch strings.ToLower(kind) {
	case "database", "db", "datastore", "data-store", "cache", "s3-bucket", "bucket", "object-store", "storage", "elasticsearch", "opensearch",
		"postgres", "postgresql", "mysql", "mariadb", "mongodb", "redis", "memcached", "cassandra", "dynamodb", "dynamodb-table", "clickhouse",
		"bigtable", "spanner", "data-warehouse", "search-index":
		return Datastore
	case "queue", "message-queue", "topic", "kafka-topic", "sqs-queue", "sqs", "sns-topic", "pubsub-topic", "message-broker", "broker", "stream",
		"event-bus", "kafka", "rabbitmq", "nats", "kinesis-stream":
		return Queue
	case "third-party", "external", "saas", "vendor":
		return ThirdParty
	}
	return otherwise
}
