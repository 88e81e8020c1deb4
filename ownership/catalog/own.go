package catalog

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// OwnFormat is the format of the registry's own files.
const OwnFormat = "whosehop"

// ownLists are the lists of a file, and what their items are.
var ownLists = []struct {
	key  string
	kind Kind
}{
	{"teams", Team},
	{"services", Service},
	{"datastores", Datastore},
	{"queues", Queue},
	{"third-parties", ThirdParty},
	{"apis", API},
	{"systems", System},
	{"operations", Operation},
	{"edges", Edge},
	{"namespaces", Namespace},
	{"paths", Path},
}

// ownField is a field that is the same in a file and in a record: a text, a list of texts, or a time.
type ownField struct {
	key  string
	text func(*Record) *string
	list func(*Record) *[]string
	time func(*Record) *time.Time
}

// ownFields are in the order in which they are written.
var ownFields = []ownField{
	{key: "namespace", text: func(r *Record) *string { return &r.Namespace }},
	{key: "environment", text: func(r *Record) *string { return &r.Environment }},
	{key: "aliases", list: func(r *Record) *[]string { return &r.Aliases }},
	{key: "on-call", text: func(r *Record) *string { return &r.OnCall }},
	{key: "escalation", list: func(r *Record) *[]string { return &r.Escalation }},
	{key: "chat", text: func(r *Record) *string { return &r.Chat }},
	{key: "email", text: func(r *Record) *string { return &r.Email }},
	{key: "runbook", text: func(r *Record) *string { return &r.Runbook }},
	{key: "dashboard", text: func(r *Record) *string { return &r.Dashboard }},
	{key: "repository", text: func(r *Record) *string { return &r.Repository }},
	{key: "reviewer", text: func(r *Record) *string { return &r.Reviewer }},
	{key: "tier", text: func(r *Record) *string { return &r.Tier }},
	{key: "lifecycle", text: func(r *Record) *string { return &r.Lifecycle }},
	{key: "slo", text: func(r *Record) *string { return &r.SLO }},
	{key: "depends-on", list: func(r *Record) *[]string { return &r.DependsOn }},
	{key: "contract", text: func(r *Record) *string { return &r.Contract }},
	{key: "reviewed", time: func(r *Record) *time.Time { return &r.Reviewed }},
	{key: "parent", text: func(r *Record) *string { return &r.Parent }},
	{key: "members", list: func(r *Record) *[]string { return &r.Members }},
	{key: "from", time: func(r *Record) *time.Time { return &r.From }},
	{key: "until", time: func(r *Record) *time.Time { return &r.Until }},
}

// Own reads a file of the registry's own format, which docs/owners.md describes. What Write writes is read as it was.
func Own(file string, data []byte) ([]Record, []Problem) {
	return readYAML(&ownReader{catalogFile: catalogFile{format: OwnFormat}}, file, data)
}

type ownReader struct{ catalogFile }

func (f *ownReader) document(root *yaml.Node) {
	if root.Kind != yaml.MappingNode {
		f.wrong(root, "a file of owners is a mapping of lists, such as services")
		return
	}
	for key, list := range fieldsOf(root) {
		kind, known := ownKind(key.Value)
		switch {
		case !known:
			f.wrong(key, "%q is not known: %s are", short(key.Value), ownKeys())
		case list.Tag == "!!null":
		case list.Kind != yaml.SequenceNode:
			f.wrong(list, "%s is not a list", key.Value)
		default:
			for _, item := range list.Content {
				if item.Kind != yaml.MappingNode {
					f.wrong(item, "an item of %s is not a mapping of fields", key.Value)
				} else if r := f.item(item, kind); r != nil {
					f.done = append(f.done, *r)
				}
			}
		}
	}
}

func ownKind(key string) (Kind, bool) {
	for _, l := range ownLists {
		if l.key == key {
			return l.kind, true
		}
	}
	return "", false
}

func ownKeys() string {
	keys := make([]string, len(ownLists))
	for i, l := range ownLists {
		keys[i] = l.key
	}
	return strings.Join(keys[:len(keys)-1], ", ") + " and " + keys[len(keys)-1]
}

// item reads one. It is nil when it cannot hold.
func (f *ownReader) item(n *yaml.Node, kind Kind) *Record {
	r := &Record{Kind: kind}
	known := []string{"owner", "owners", "links", "source", "format"}
	names, reason := f.named(n, r)
	known = append(known, names...)
	r.addOwner(f.text(n, "owner"))
	for _, owner := range f.texts(n, "owners") {
		r.addOwner(owner)
	}
	for _, field := range ownFields {
		known = append(known, field.key)
		switch {
		case field.text != nil:
			*field.text(r) = f.text(n, field.key)
		case field.list != nil:
			*field.list(r) = f.texts(n, field.key)
		default:
			at, err := parseTime(f.text(n, field.key))
			if err != nil {
				reason = cmp.Or(reason, fmt.Sprintf("has a bad %s: %v", field.key, err))
			}
			*field.time(r) = at
		}
	}
	if reason = cmp.Or(reason, senseless(r)); reason != "" {
		f.wrong(n, "the %s %s", kind, reason)
		return nil
	}
	f.links(n, r, known)
	r.Source = f.source(n)
	return r
}

// named reads what the item is about, and tells the fields that say it. The reason is why that cannot be.
func (f *ownReader) named(n *yaml.Node, r *Record) (fields []string, reason string) {
	switch r.Kind {
	case Operation:
		r.Name, r.Operation = f.text(n, "service"), f.text(n, "operation")
		if reason = validName(r.Name); reason != "" {
			reason = "of " + strconv.Quote(short(r.Operation)) + " has no good service: it " + reason + " (* is any)"
		} else if r.Operation == "" {
			reason = "of " + r.Name + " has no operation: give a span's name, or a pattern of such"
		}
		return []string{"service", "operation"}, reason
	case Edge:
		return []string{"edge", "caller", "callee", "phase", "accountable"}, f.edge(n, r)
	case Path:
		if pattern := at(n, "pattern"); pattern != nil && pattern.Kind == yaml.ScalarNode {
			r.Pattern = pattern.Value // blanks belong to it
		}
		if r.Pattern == "" {
			return []string{"pattern"}, "has no pattern"
		} else if err := boundPattern(r.Pattern); err != nil {
			return []string{"pattern"}, "is not read: " + err.Error()
		}
		return []string{"pattern"}, ""
	default:
		r.Name = f.text(n, "name")
		return []string{"name"}, validName(r.Name)
	}
}

func (f *ownReader) edge(n *yaml.Node, r *Record) (reason string) {
	edge := f.text(n, "edge")
	r.Caller, r.Callee, r.Phase = f.text(n, "caller"), f.text(n, "callee"), f.text(n, "phase")
	r.Accountable = f.text(n, "accountable")
	if edge != "" {
		if r.Caller+r.Callee+r.Phase != "" {
			return "is given twice: as edge, and as caller, callee or phase"
		}
		r.Caller, r.Callee, r.Phase = ParseEdge(edge)
	}
	for _, side := range []string{r.Caller, r.Callee} {
		if reason := validName(side); reason != "" {
			return "from " + strconv.Quote(short(r.Caller)) + " to " + strconv.Quote(short(r.Callee)) + " " + reason + ` on one side: write "caller->callee:phase"`
		}
	}
	if r.Phase != "" && !slices.Contains(Phases, r.Phase) {
		return fmt.Sprintf("has the phase %q: %s are known", short(r.Phase), strings.Join(Phases, ", "))
	}
	return ""
}

// Phases are those that an edge can be about: the registry's five, and those of verdicts that have other names.
var Phases = []string{"network", "queue", "pool", "budget", "contract", "connect", "request", "response", "backoff"}

// ParseEdge takes caller->callee:phase apart, of which the phase can be missing: a number after the last colon is a port.
func ParseEdge(edge string) (caller, callee, phase string) {
	caller, callee, _ = strings.Cut(edge, "->")
	if at := strings.LastIndexByte(callee, ':'); at >= 0 && (at+1 == len(callee) || strings.Trim(callee[at+1:], "0123456789") != "") {
		callee, phase = callee[:at], callee[at+1:]
	}
	return strings.TrimSpace(caller), strings.TrimSpace(callee), strings.TrimSpace(phase)
}

// senseless tells why a record that is complete by its fields cannot hold, or nothing.
func senseless(r *Record) string {
	switch {
	case !r.From.IsZero() && !r.Until.IsZero() && !r.From.Before(r.Until):
		return "holds from " + writeTime(r.From) + ", which is not before " + writeTime(r.Until)
	case r.Kind == Operation && r.Owner == "":
		return fmt.Sprintf("%q of %s has no owner", short(r.Operation), r.Name)
	case r.Kind != Edge:
		return ""
	case r.Accountable != "" && r.Owner != "":
		return fmt.Sprintf("%s->%s has an owner and an accountable side: give one of them", r.Caller, r.Callee)
	case r.Accountable == "" && r.Owner == "":
		return fmt.Sprintf("%s->%s has no owner, and no accountable side", r.Caller, r.Callee)
	case r.Accountable != "" && r.Accountable != "caller" && r.Accountable != "callee":
		return fmt.Sprintf("%s->%s: accountable is %q, which is neither caller nor callee", r.Caller, r.Callee, short(r.Accountable))
	}
	return ""
}

// text is that of a field, whole: what Write wrote is read as it was.
func (f *ownReader) text(n *yaml.Node, key string) string {
	v := at(n, key)
	switch {
	case v == nil || v.Tag == "!!null":
		return ""
	case v.Kind != yaml.ScalarNode:
		f.wrong(v, "%s is not a text", key)
		return ""
	}
	return kept(key, v.Value)
}

// ownNames are the fields that say by names what is meant: half of "checkout->token:pool" is no credential.
var ownNames = []string{
	"name", "namespace", "environment", "aliases", "service", "operation", "edge", "caller", "callee", "phase", "accountable", "owner", "owners",
	"depends-on", "parent", "format",
}

// kept is what is kept of a field. A name is whole, but for the looks of well-known credentials.
func kept(key, s string) string {
	if slices.Contains(ownNames, key) {
		return strings.TrimSpace(token.ReplaceAllString(s, "…"))
	}
	return tidy(s)
}

// texts are those of a list. A text that is no list is one.
func (f *ownReader) texts(n *yaml.Node, key string) []string {
	var all []string
	for _, item := range items(n, key) {
		switch t := kept(key, item.Value); {
		case item.Kind != yaml.ScalarNode || t == "":
			f.wrong(item, "an item of %s is not a text", key)
		case len(all) == listMax:
			f.wrong(item, "%s has more than %d items: the others are not read", key, listMax)
			return all
		default:
			all = append(all, t)
		}
	}
	return all
}

// links reads the links, and keeps what is not known with them.
func (f *ownReader) links(n *yaml.Node, r *Record, known []string) {
	for _, l := range items(n, "links") {
		if l.Kind != yaml.MappingNode {
			f.wrong(l, "links is a mapping of names, or a list of such mappings")
		}
		for key, value := range fieldsOf(l) {
			if credential.MatchString(key.Value) {
				f.wrong(key, "the link %q may be a credential by its name: not kept", short(key.Value))
				continue
			}
			r.Links = leaves(r.Links, key.Value, value, 0)
		}
	}
	for key, value := range fieldsOf(n) {
		if !slices.Contains(known, key.Value) {
			spellPairs(value)
			r.Links = leaves(r.Links, key.Value, value, 0)
		}
	}
}

// source is where the item was first written down, or where it stands.
func (f *ownReader) source(n *yaml.Node) Source {
	s := Source{Format: cmp.Or(f.text(n, "format"), OwnFormat), File: f.name, Line: n.Line}
	if v := at(n, "source"); v != nil && v.Kind == yaml.ScalarNode && v.Value != "" && v.Tag != "!!null" {
		said := v.Value // blanks belong to it
		s.File, s.Line = said, 0
		if file, number := cutLast(said, ':'); file != "" {
			if line, err := strconv.Atoi(number); err == nil && line >= 0 {
				s.File, s.Line = file, line
			}
		}
	}
	return s
}

// parseTime reads a date, which is midnight UTC, or an RFC 3339 time. Nothing is the zero time.
func parseTime(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if at, err := time.Parse(time.DateOnly, text); err == nil {
		return at, nil
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is neither a date such as 2026-01-31 nor an RFC 3339 time", short(text))
	}
	return at.UTC(), nil
}

func writeTime(at time.Time) string {
	at = at.UTC()
	if at.Equal(at.Truncate(24 * time.Hour)) {
		return at.Format(time.DateOnly)
	}
	return at.Format(time.RFC3339Nano)
}

// recordsOfDocument is how many records are written to a document: readers hold one at a time.
const recordsOfDocument = 1000

// Write writes records in the registry's own format, each with the file, the line and the format that it comes from. They
// are in the order of Sort, whatever order they have, so that what changes in a file is what changed.
func Write(w io.Writer, records []Record) error {
	records = slices.Clone(records)
	Sort(records)
	for at := 0; at < len(records); at += recordsOfDocument {
		if at > 0 {
			if _, err := io.WriteString(w, "---\n"); err != nil {
				return fmt.Errorf("write owners: %w", err)
			}
		}
		if err := writeDocument(w, records[at:min(at+recordsOfDocument, len(records))]); err != nil {
			return fmt.Errorf("write owners: %w", err)
		}
	}
	return nil
}

// writeDocument has an encoder of its own, for one keeps all that it has ever written.
func writeDocument(w io.Writer, records []Record) error {
	doc := &yaml.Node{Kind: yaml.MappingNode}
	for _, l := range ownLists {
		list := &yaml.Node{Kind: yaml.SequenceNode}
		for i := range records {
			if records[i].Kind == l.kind {
				list.Content = append(list.Content, ownNode(&records[i]))
			}
		}
		if len(list.Content) > 0 {
			doc.Content = append(doc.Content, scalar(l.key), list)
		}
	}
	out := yaml.NewEncoder(w)
	out.SetIndent(2)
	return errors.Join(out.Encode(doc), out.Close())
}

// Sort orders records by their kind and by what they are about. Paths stay in the order of their files' lines: of two that
// fit, the later counts.
func Sort(records []Record) {
	order := make(map[Kind]int, len(ownLists))
	for i, l := range ownLists {
		order[l.kind] = i
	}
	slices.SortStableFunc(records, func(a, b Record) int {
		if c := cmp.Compare(order[a.Kind], order[b.Kind]); c != 0 {
			return c
		}
		source := cmp.Or(strings.Compare(a.Source.File, b.Source.File), cmp.Compare(a.Source.Line, b.Source.Line))
		if a.Kind == Path {
			return source
		}
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Environment, b.Environment),
			strings.Compare(a.Operation, b.Operation), strings.Compare(a.Caller, b.Caller), strings.Compare(a.Callee, b.Callee),
			strings.Compare(a.Phase, b.Phase), a.From.Compare(b.From), source)
	})
}

// ownNode is a record as it is written.
func ownNode(r *Record) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	add := func(key, value string) {
		if value != "" {
			n.Content = append(n.Content, scalar(key), scalar(value))
		}
	}
	list := func(key string, values []string) {
		if len(values) > 0 {
			l := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
			for _, v := range values {
				l.Content = append(l.Content, scalar(v))
			}
			n.Content = append(n.Content, scalar(key), l)
		}
	}
	switch r.Kind {
	case Operation:
		add("service", r.Name)
		add("operation", r.Operation)
	case Edge:
		addEdge(r, add)
	case Path:
		add("pattern", r.Pattern)
	default:
		add("name", r.Name)
	}
	if len(r.Owners) == 0 {
		add("owner", r.Owner)
	} else {
		list("owners", append([]string{r.Owner}, r.Owners...))
	}
	add("accountable", r.Accountable)
	for _, field := range ownFields {
		switch {
		case field.text != nil:
			add(field.key, *field.text(r))
		case field.list != nil:
			list(field.key, *field.list(r))
		case !field.time(r).IsZero():
			n.Content = append(n.Content, scalar(field.key), &yaml.Node{Kind: yaml.ScalarNode, Value: writeTime(*field.time(r))})
		}
	}
	if len(r.Links) > 0 {
		n.Content = append(n.Content, scalar("links"), linksNode(r.Links))
	}
	if r.Source.File != "" {
		source := r.Source.String()
		if _, number := cutLast(r.Source.File, ':'); r.Source.Line == 0 && number != "" && strings.Trim(number, "0123456789") == "" {
			source += ":0" // else what the file's name ends with is the line
		}
		add("source", source)
	}
	if r.Source.Format != OwnFormat {
		add("format", r.Source.Format)
	}
	return n
}

// addEdge writes caller->callee:phase where that can be read again.
func addEdge(r *Record, add func(key, value string)) {
	edge := r.Caller + "->" + r.Callee
	if r.Phase != "" {
		edge += ":" + r.Phase
	}
	if caller, callee, phase := ParseEdge(edge); caller == r.Caller && callee == r.Callee && phase == r.Phase {
		add("edge", edge)
		return
	}
	add("caller", r.Caller)
	add("callee", r.Callee)
	add("phase", r.Phase)
}

// linksNode is a mapping, or, where names are there twice, a list of mappings.
func linksNode(links []Link) *yaml.Node {
	names := make(map[string]bool, len(links))
	for _, l := range links {
		names[l.Name] = true
	}
	if len(names) == len(links) {
		n := &yaml.Node{Kind: yaml.MappingNode}
		for _, l := range links {
			n.Content = append(n.Content, scalar(l.Name), scalar(l.Target))
		}
		return n
	}
	n := &yaml.Node{Kind: yaml.SequenceNode}
	for _, l := range links {
		n.Content = append(n.Content, &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{scalar(l.Name), scalar(l.Target)}})
	}
	return n
}

// scalar is a text that is read as that text, whatever it looks like.
func scalar(text string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: strings.ToValidUTF8(text, "\ufffd")}
	for _, c := range n.Value {
		if !unicode.IsPrint(c) {
			n.Style = yaml.DoubleQuotedStyle // which has escapes
			break
		}
	}
	return n
}
