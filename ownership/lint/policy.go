package lint

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/whosehop/whosehop/ownership"
	"github.com/whosehop/whosehop/ownership/catalog"
)

// Policy is what a company demands of its catalog beyond what makes sense by itself. The zero value demands nothing.
type Policy struct {
	Require []Requirement `yaml:"require"`
	// ReviewDays is how long a review may be ago; 0 is for ever.
	ReviewDays int `yaml:"review-days"`
	// OwnersMustExist says whether an owner must be a known team, or a member of one; if it is not said, then where any team
	// is known.
	OwnersMustExist *bool `yaml:"owners-must-exist"`
	// Allow lists what is accepted.
	Allow []Exception `yaml:"allow"`
}

// Requirement demands fields of what is of one of the kinds, tiers and lifecycles; none is any, and no kind is services.
type Requirement struct {
	Kinds      []kind   `yaml:"kinds"`
	Tiers      []string `yaml:"tiers"`
	Lifecycles []string `yaml:"lifecycles"`
	Fields     []field  `yaml:"fields"`
	Severity   Severity `yaml:"severity"`
}

// Exception accepts the findings of a rule, or of all, about what has a name, which may be a pattern.
type Exception struct {
	Rule ruleName `yaml:"rule"`
	Name string   `yaml:"name"`
}

const policyBytesMax = 1 << 20

// ParsePolicy reads a policy. What is wrong is named with its line.
func ParsePolicy(data []byte) (*Policy, error) {
	if len(data) > policyBytesMax {
		return nil, fmt.Errorf("the policy has more than %d bytes", policyBytesMax)
	}
	in := yaml.NewDecoder(bytes.NewReader(data))
	in.KnownFields(true)
	p := new(Policy)
	if err := in.Decode(p); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if err := in.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("a policy is one document")
	}
	if p.ReviewDays < 0 {
		return nil, fmt.Errorf("review-days: %d is negative", p.ReviewDays)
	}
	for i, r := range p.Require {
		if len(r.Fields) == 0 {
			return nil, fmt.Errorf("require[%d] demands nothing: list its fields", i)
		}
		if r.Severity == "" {
			p.Require[i].Severity = Error
		}
		if len(r.Kinds) == 0 {
			p.Require[i].Kinds = []kind{kind(catalog.Service)}
		}
	}
	for i, e := range p.Allow {
		if e.Rule == "" && e.Name == "" {
			return nil, fmt.Errorf("allow[%d] accepts everything: name a rule, or what it is about", i)
		}
	}
	return p, nil
}

// allows says whether a finding is accepted.
func (p *Policy) allows(f *Finding) bool {
	return slices.ContainsFunc(p.Allow, func(e Exception) bool {
		return (e.Rule == "" || string(e.Rule) == f.Rule) &&
			(e.Name == "" || slices.ContainsFunc(f.about, func(name string) bool { return ownership.Fits(e.Name, name) }))
	})
}

// Words of which only some can be.
type (
	kind     catalog.Kind
	field    string
	ruleName string
)

// oneOf reads a word, and refuses one that is not among those that can be.
func oneOf(n *yaml.Node, what string, can []string) (string, error) {
	if n.Kind != yaml.ScalarNode || !slices.Contains(can, n.Value) {
		return "", fmt.Errorf("line %d: %q is no %s: there are %s", n.Line, n.Value, what, strings.Join(can, ", "))
	}
	return n.Value, nil
}

// UnmarshalYAML implements yaml.Unmarshaler.
func (k *kind) UnmarshalYAML(n *yaml.Node) error {
	word, err := oneOf(n, "kind", []string{"service", "datastore", "queue", "third-party", "api", "system", "operation", "edge", "namespace", "team"})
	*k = kind(word)
	return err
}

// UnmarshalYAML implements yaml.Unmarshaler.
func (f *field) UnmarshalYAML(n *yaml.Node) error {
	names := make([]string, len(fields))
	for i, known := range fields {
		names[i] = known.name
	}
	word, err := oneOf(n, "field", names)
	*f = field(word)
	return err
}

// UnmarshalYAML implements yaml.Unmarshaler.
func (s *Severity) UnmarshalYAML(n *yaml.Node) error {
	word, err := oneOf(n, "severity", []string{string(Error), string(Warning)})
	*s = Severity(word)
	return err
}

// UnmarshalYAML implements yaml.Unmarshaler.
func (r *ruleName) UnmarshalYAML(n *yaml.Node) error {
	names := make([]string, len(Rules))
	for i, known := range Rules {
		names[i] = known.ID
	}
	word, err := oneOf(n, "rule", names)
	*r = ruleName(word)
	return err
}

// fields are those that can be demanded, by their names in the registry's own files.
var fields = []struct {
	name string
	has  func(*catalog.Record) bool
}{
	{"owner", func(c *catalog.Record) bool {
		return c.Owner != "" && c.Owner != ownership.Unowned || c.Accountable != ""
	}},
	{"on-call", func(c *catalog.Record) bool { return c.OnCall != "" }},
	{"escalation", func(c *catalog.Record) bool { return len(c.Escalation) > 0 }},
	{"chat", func(c *catalog.Record) bool { return c.Chat != "" }},
	{"email", func(c *catalog.Record) bool { return c.Email != "" }},
	{"runbook", func(c *catalog.Record) bool { return c.Runbook != "" }},
	{"dashboard", func(c *catalog.Record) bool { return c.Dashboard != "" }},
	{"repository", func(c *catalog.Record) bool { return c.Repository != "" }},
	{"reviewer", func(c *catalog.Record) bool { return c.Reviewer != "" }},
	{"tier", func(c *catalog.Record) bool { return c.Tier != "" }},
	{"lifecycle", func(c *catalog.Record) bool { return c.Lifecycle != "" }},
	{"slo", func(c *catalog.Record) bool { return c.SLO != "" }},
	{"depends-on", func(c *catalog.Record) bool { return len(c.DependsOn) > 0 }},
	{"contract", func(c *catalog.Record) bool { return c.Contract != "" }},
	{"reviewed", func(c *catalog.Record) bool { return !c.Reviewed.IsZero() }},
	{"parent", func(c *catalog.Record) bool { return c.Parent != "" }},
	{"members", func(c *catalog.Record) bool { return len(c.Members) > 0 }},
}
