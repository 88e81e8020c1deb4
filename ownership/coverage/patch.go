package coverage

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/whosehop/whosehop/ownership/catalog"
)

// record is what is to be written down. It holds from today on: who owned it before is not changed by it. Where a record of
// the same thing stands already, it says as much as that one, and being the newer it counts.
func (a *assessment) record(u *unit, owner string) catalog.Record {
	r := catalog.Record{Kind: catalog.Service, Owner: owner, Source: catalog.Source{Format: catalog.OwnFormat}}
	year, month, d := a.now.UTC().Date()
	r.From = time.Date(year, month, d, 0, 0, 0, 0, time.UTC)
	if u.subject.Kind == OfEdge {
		r.Kind, r.Caller, r.Callee, r.Phase = catalog.Edge, u.subject.Caller, u.subject.Callee, u.subject.Phase
		r.Namespace, r.Environment = u.subject.Namespace, u.subject.Environment
		return r
	}
	switch {
	case u.subject.Operation != "":
		r.Kind, r.Operation = catalog.Operation, u.subject.Operation
	case u.subject.Kind == OfPeer:
		r.Kind = peerKind(u.subject.Name)
	}
	if r.Kind == catalog.ThirdParty && !strings.ContainsAny(u.subject.Name, ": ") {
		r.Aliases = []string{u.subject.Name + ":*"} // a verdict will name its port
	}
	r.Name, r.Namespace, r.Environment = u.subject.Name, u.subject.Namespace, u.subject.Environment
	if c := u.answer.Record; c != nil && (isThing(c) || c.Kind == catalog.Operation) {
		// A namespace or an environment that it was not seen in is left out.
		if u.question.Environment != "" || strings.Trim(c.Environment, "*") == "" {
			r.Environment = cmp.Or(r.Environment, c.Environment)
		}
		if strings.Trim(c.Namespace, "*") == "" {
			r.Namespace = cmp.Or(r.Namespace, c.Namespace)
		}
	}
	return r
}

// The systems that stand first in the names of what sends no spans.
var (
	datastores = []string{
		"postgresql", "mysql", "mariadb", "mssql", "microsoft.sql_server", "oracle", "oracle.db", "db2", "ibm.db2", "sqlite", "cockroachdb", "clickhouse",
		"redis", "valkey", "memcached", "mongodb", "cassandra", "elasticsearch", "opensearch", "dynamodb", "aws.dynamodb", "couchbase", "couchdb", "neo4j",
		"influxdb", "hbase", "spanner", "gcp.spanner", "cosmosdb", "azure.cosmosdb",
	}
	queues = []string{
		"kafka", "rabbitmq", "activemq", "artemis", "aws_sqs", "aws.sqs", "aws.sns", "gcp_pubsub", "servicebus", "eventhubs", "eventgrid", "jms", "nats", "pulsar", "rocketmq",
	}
)

func peerKind(name string) catalog.Kind {
	switch system, _, _ := strings.Cut(name, " "); {
	case slices.Contains(datastores, system):
		return catalog.Datastore
	case slices.Contains(queues, system):
		return catalog.Queue
	}
	return catalog.ThirdParty
}

// sections are those of a file of the registry's own format, in their order.
var sections = []struct {
	kind catalog.Kind
	name string
}{{catalog.Service, "services"}, {catalog.Datastore, "datastores"}, {catalog.Queue, "queues"}, {catalog.ThirdParty, "third-parties"}, {catalog.Operation, "operations"}, {catalog.Edge, "edges"}}

// dateLayout is that of the registry's files.
const dateLayout = "2006-01-02"

// file is one of the registry's own format with what is suggested, and how many records that is. What cannot be written
// there as it is, and what is there already, is left out.
func file(list []*Suggestion) (text string, n int) {
	root := &yaml.Node{Kind: yaml.MappingNode}
	for _, section := range sections {
		items := &yaml.Node{Kind: yaml.SequenceNode}
		var known []Subject
		for _, s := range list {
			about := Subject{Name: s.Record.Name, Operation: s.Record.Operation, Namespace: s.Record.Namespace, Environment: s.Record.Environment, Caller: s.Record.Caller, Callee: s.Record.Callee, Phase: s.Record.Phase}
			if s.Record.Kind != section.kind || slices.Contains(known, about) {
				continue
			}
			if item := item(s); item != nil {
				known = append(known, about)
				items.Content = append(items.Content, item)
			}
		}
		if len(items.Content) > 0 {
			root.Content = append(root.Content, scalar(section.name), items)
			n += len(items.Content)
		}
	}
	if n == 0 {
		return "", 0
	}
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(root); err != nil {
		panic(err) // it is made of texts alone, and written to memory
	}
	return b.String(), n
}

// item is a record in such a file, with the reasons above it; nil where a name cannot stand there.
func item(s *Suggestion) *yaml.Node {
	r := &s.Record
	item := &yaml.Node{Kind: yaml.MappingNode, HeadComment: "# " + printed(strings.Join(s.Why, "; ")) + " (" + s.Confidence + ")"}
	name := "name"
	if r.Kind == catalog.Operation {
		name = "service"
	}
	for _, field := range []struct{ key, value string }{
		{name, r.Name}, {"operation", r.Operation}, {"namespace", r.Namespace}, {"environment", r.Environment}, {"caller", r.Caller}, {"callee", r.Callee}, {"phase", r.Phase}, {"owner", r.Owner},
	} {
		switch {
		case field.value == "":
		case !writable(field.value):
			return nil
		default:
			item.Content = append(item.Content, scalar(field.key), scalar(field.value))
		}
	}
	if len(r.Aliases) > 0 {
		aliases := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
		for _, alias := range r.Aliases {
			aliases.Content = append(aliases.Content, scalar(alias))
		}
		item.Content = append(item.Content, scalar("aliases"), aliases)
	}
	item.Content = append(item.Content, scalar("from"), &yaml.Node{Kind: yaml.ScalarNode, Value: r.From.Format(dateLayout)})
	return item
}

func scalar(value string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: value}
}

// writable: it is read back as it is.
func writable(value string) bool {
	const bytesMax = 256
	return len(value) <= bytesMax && utf8.ValidString(value) && strings.TrimSpace(value) == value && !strings.Contains(value, "{{") && printed(value) == value
}

// printed keeps what comes from spans on one line.
func printed(s string) string {
	return strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return ' '
		}
		return c
	}, s)
}

// Suggested is a file of the registry's own format with all that is suggested, and how many records that is.
func Suggested(findings []Finding) (text string, n int) {
	var list []*Suggestion
	for i := range findings {
		if s := findings[i].Suggestion; s != nil {
			list = append(list, s)
		}
	}
	return file(list)
}

// Patch is a unified diff, as git apply takes it, that makes a new file of a text that ends with its last line.
func Patch(name, text string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "diff --git a/%[1]s b/%[1]s\nnew file mode 100644\n--- /dev/null\n+++ b/%[1]s\n@@ -0,0 +1,%[2]d @@\n", name, strings.Count(text, "\n"))
	for line := range strings.Lines(text) {
		b.WriteString("+" + line)
	}
	return b.String()
}
