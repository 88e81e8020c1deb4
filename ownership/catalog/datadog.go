package catalog

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Datadog reads service definitions of Datadog's catalog: v2, v2.1, v2.2 and v3, YAML or JSON.
func Datadog(file string, data []byte) ([]Record, []Problem) {
	return readYAML(newDatadog(), file, data)
}

func newDatadog() *datadogReader {
	return &datadogReader{catalogFile: catalogFile{format: "datadog"}}
}

type datadogReader struct {
	catalogFile
	entities []*datadogEntity
}

func (f *datadogReader) document(root *yaml.Node) {
	for _, n := range f.definitions(root) {
		switch schema, version := f.text(n, "schema-version"), f.text(n, "apiVersion"); {
		case slices.Contains([]string{"v2", "v2.1", "v2.2"}, schema):
			f.service(n)
		case version == "v3":
			f.entity(n)
		case schema+version == "":
			f.wrong(n, "neither schema-version nor apiVersion says what this is")
		default:
			f.wrong(n, "version %q is not known: v2, v2.1, v2.2 and v3 are", short(schema+version))
		}
	}
}

func (f *datadogReader) found() int { return len(f.entities) }

func (f *datadogReader) records() ([]Record, []Problem) {
	f.compose()
	problems := f.inherit()
	records := make([]Record, len(f.entities))
	for i, e := range f.entities {
		records[i] = *e.Record
	}
	return records, problems
}

// datadogEntity is a record and what it says of others.
type datadogEntity struct {
	*Record
	ref        string // kind:namespace/name
	parent     string // the reference that it inherits from
	system     string // the reference to the system that it is a component of
	components []string
	inherited  bool
}

// service reads a definition of version 2.
func (f *datadogReader) service(n *yaml.Node) {
	kind := catalogKind(f.text(n, "type"))
	rec := f.record(n, kind, text(n, "dd-service"))
	if rec == nil {
		return
	}
	f.entities = append(f.entities, &datadogEntity{Record: rec, ref: "service:default/" + rec.Name})
	rec.Owner = f.text(n, "team")
	rec.addOwner(f.text(n, "dd-team"))
	rec.Parent = f.text(n, "application")
	rec.Tier = f.text(n, "tier")
	rec.Lifecycle = f.text(n, "lifecycle")
	f.integrations(rec, n)
	f.reached(rec, n)
	f.links(rec, n, "repos", "repo")
	f.links(rec, n, "docs", "doc")
	rec.Links = rest(rec.Links, n, "", "schema-version", "dd-service", "team", "dd-team", "application", "tier",
		"lifecycle", "contacts", "links", "repos", "docs", "tags", "integrations")
}

// entity reads a definition of version 3.
func (f *datadogReader) entity(n *yaml.Node) {
	meta, spec, product := f.mapping(n, "metadata"), f.mapping(n, "spec"), f.mapping(n, "datadog")
	kind, name := f.text(n, "kind"), text(meta, "name")
	if kind == "" {
		f.wrong(n, "an entity has no kind")
		return
	}
	rec := f.record(n, catalogKind(kind), name)
	if rec == nil {
		return
	}
	namespace := f.text(meta, "namespace")
	if namespace != "default" {
		rec.Namespace = namespace
	}
	e := &datadogEntity{Record: rec, ref: datadogRef(kind + ":" + namespace + "/" + name)}
	e.parent = f.text(meta, "inheritFrom")
	e.components = f.texts(spec, "components")
	f.entities = append(f.entities, e)

	rec.alsoCalled(f.text(meta, "displayName"))
	rec.Owner = datadogName(f.text(meta, "owner"))
	for _, o := range items(meta, "additionalOwners") {
		owner := first(text(o), text(o, "name"))
		rec.addOwner(datadogName(owner))
		if role := text(o, "type"); role != "" {
			rec.link("additionalOwners."+role, owner)
		}
	}
	rec.Tier = f.text(spec, "tier")
	rec.Lifecycle = f.text(spec, "lifecycle")
	for _, ref := range f.texts(spec, "dependsOn") {
		rec.DependsOn = append(rec.DependsOn, datadogName(ref))
	}
	for i, ref := range f.texts(spec, "componentOf") {
		if i == 0 {
			e.composed(datadogRef(ref), datadogName(ref))
		} else {
			rec.Links = addLink(rec.Links, "spec.componentOf", ref)
		}
	}
	f.integrations(rec, n)
	f.reached(rec, meta)
	for _, l := range f.list(product, "codeLocations") {
		rec.repository("", "", text(l, "repositoryURL"))
		rec.Links = rest(rec.Links, l, "datadog.codeLocations.", "repositoryURL")
	}
	rec.Links = addLink(rec.Links, "kind", kind)
	rec.Links = rest(rec.Links, meta, "metadata.", "name", "namespace", "displayName", "owner", "additionalOwners",
		"inheritFrom", "links", "contacts", "tags")
	// The definition of an API is its contract. It is in the file itself, and no link, where there is no other.
	api := f.mapping(spec, "interface")
	rec.Contract = f.text(api, "fileRef")
	rec.Links = rest(rec.Links, api, "spec.interface.", "fileRef", "definition")
	rec.Links = rest(rec.Links, spec, "spec.", "tier", "lifecycle", "dependsOn", "componentOf", "interface")
	rec.Links = rest(rec.Links, product, "datadog.", "codeLocations")
	rec.Links = rest(rec.Links, n, "", "apiVersion", "kind", "metadata", "spec", "integrations", "datadog")
}

// integrations reads where those on call are found: a text in v2, a field of a mapping since.
func (f *datadogReader) integrations(rec *Record, n *yaml.Node) {
	all := at(n, "integrations")
	for tool, v := range fieldsOf(all) {
		url := first(text(v), text(v, "service-url"), text(v, "serviceURL"), text(v, "teamURL"))
		switch tool.Value {
		case "pagerduty", "opsgenie", "jiraServiceManagementOps":
			if url != "" && !strings.Contains(url, "://") {
				url = tool.Value + ":" + url
			}
			rec.place("on-call", tool.Value, url)
			rec.Links = rest(rec.Links, v, "integrations."+tool.Value+".", "service-url", "serviceURL", "teamURL")
		}
	}
	rec.Links = rest(rec.Links, all, "integrations.", "pagerduty", "opsgenie", "jiraServiceManagementOps")
}

// reached reads contacts, links and tags, which are the same in all versions.
func (f *datadogReader) reached(rec *Record, n *yaml.Node) {
	for _, c := range f.list(n, "contacts") {
		kind, title, contact := text(c, "type"), text(c, "name"), text(c, "contact")
		switch {
		case at(c, "contact") == nil:
			f.wrong(c, "a contact of %s says nothing", rec.Name)
		case contact == "": // a form that is not filled in
		case strings.EqualFold(kind, "email"):
			rec.mail(title, contact)
		case strings.HasSuffix(kind, "-chat") || kind == "microsoft-teams":
			rec.place("chat", strings.TrimSpace(kind+" "+title), contact)
		default:
			rec.place(kind, title, contact)
		}
		rec.Links = rest(rec.Links, c, "contacts.", "type", "name", "contact")
	}
	f.links(rec, n, "links", "")
	for _, tag := range f.texts(n, "tags") {
		rec.tag(tag)
	}
}

// links reads a list of links, of a kind where they do not say their own.
func (f *datadogReader) links(rec *Record, n *yaml.Node, list, kind string) {
	for _, l := range f.list(n, list) {
		switch kind, title, url := first(text(l, "type"), kind), text(l, "name"), text(l, "url"); {
		case at(l, "url") == nil:
			f.wrong(l, "an item of %s of %s has no url", list, rec.Name)
		case strings.EqualFold(kind, "repo"):
			rec.repository("", title, url)
		default:
			rec.place(kind, title, url)
		}
		rec.Links = rest(rec.Links, l, list+".", "type", "name", "url", "provider")
	}
}

// compose tells the components of a system which they are part of, where they do not say it. Services can have
// components as well, and a system comes before them.
func (f *datadogReader) compose() {
	systems := make(map[string]*datadogEntity)
	for _, e := range f.entities {
		for _, ref := range e.components {
			ref = datadogRef(ref)
			if systems[ref] == nil || datadogSystem(e.ref) {
				systems[ref] = e
			}
		}
	}
	for _, e := range f.entities {
		if system := systems[e.ref]; system != nil {
			e.composed(system.ref, system.Name)
		}
	}
}

// composed makes an entity a component. Metadata is inherited from systems alone.
func (e *datadogEntity) composed(ref, name string) {
	e.Parent = first(e.Parent, name)
	if e.system == "" && datadogSystem(ref) {
		e.system = ref
	}
}

// datadogSystem says whether a reference is to a system, or to an application, as they were called once.
func datadogSystem(ref string) bool {
	return strings.HasPrefix(ref, "system:") || strings.HasPrefix(ref, "application:")
}

// inherit fills what entities leave to the one that they inherit from, or to their system, when that is in one of the
// files that are read. Another is kept as a link.
func (f *datadogReader) inherit() (problems []Problem) {
	byRef := make(map[string]*datadogEntity, len(f.entities))
	for _, e := range f.entities {
		if byRef[e.ref] == nil {
			byRef[e.ref] = e
		}
	}
	from := func(e *datadogEntity) *datadogEntity { return byRef[datadogRef(first(e.parent, e.system))] }
	for _, e := range f.entities {
		// The way up to one that is done, and down again: each entity is filled once.
		var way []*datadogEntity
		for above := e; above != nil && !above.inherited; above = from(above) {
			above.inherited = true
			way = append(way, above)
		}
		for i, child := range slices.Backward(way) {
			switch parent := from(child); {
			case parent == nil:
				child.Links = addLink(child.Links, "metadata.inheritFrom", child.parent)
			case i == len(way)-1 && slices.Contains(way, parent): // only the last can lead back
				problems = append(problems, Problem{child.Source.File, child.Source.Line, child.Name + " inherits from itself"})
			default:
				child.fill(parent)
			}
		}
	}
	return problems
}

// fill takes over the metadata that is not set. Tier, lifecycle and on-call are no metadata.
func (e *datadogEntity) fill(from *datadogEntity) {
	e.Links = addLink(e.Links, "inherits from", from.ref)
	if e.Owner == "" {
		e.Owner, e.Owners = from.Owner, slices.Clone(from.Owners)
	}
	for _, field := range []struct{ to, from *string }{
		{&e.Chat, &from.Chat},
		{&e.Email, &from.Email},
		{&e.Runbook, &from.Runbook},
		{&e.Dashboard, &from.Dashboard},
		{&e.Repository, &from.Repository},
	} {
		if *field.to == "" {
			*field.to = *field.from
		}
	}
}

// datadogRef is a reference in full: "service:pay" is "service:default/pay".
func datadogRef(ref string) string {
	kind, name, ok := strings.Cut(ref, ":")
	if !ok {
		kind, name = "service", ref
	}
	namespace, bare, ok := strings.Cut(name, "/")
	if !ok {
		namespace, bare = "", name
	}
	return fmt.Sprintf("%s:%s/%s", kind, first(namespace, "default"), bare)
}

// datadogName is a reference without kind and namespace.
func datadogName(ref string) string {
	if _, name, ok := strings.Cut(ref, ":"); ok {
		ref = name
	}
	return strings.TrimSpace(ref[strings.LastIndexByte(ref, '/')+1:])
}

func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}
