package ownership

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/whosehop/whosehop/ownership/catalog"
)

// Unowned is the owner of what nobody owns.
const Unowned = "unowned"

// Rule is how an owner was found. The rules are tried in this order, and the first that finds one decides.
type Rule string

// The rules.
const (
	ByEdge      Rule = "edge"
	ByOperation Rule = "operation"
	ByService   Rule = "service"
	ByPath      Rule = "code path"
	ByAttribute Rule = "attribute"
	ByNamespace Rule = "namespace"
	ByCatchAll  Rule = "catch-all"
	ByNobody    Rule = "nobody"
)

// Question is what is asked who owns it. A question with a Callee is about the edge from Service to it.
type Question struct {
	Service, Namespace, Environment string
	Operation                       string // a span's name
	Callee, Phase                   string
	CodePath                        string // code.file.path
	// Attr looks resource attributes up; nil knows none.
	Attr func(key string) (string, bool)
	// At is when it happened; zero is now, as far as the registry knows: what has no end.
	At time.Time
}

// Answer is who owns it, and why.
type Answer struct {
	Owner string
	Rule  Rule
	// Record is what the rule found, nil for an attribute and for nobody.
	Record *catalog.Record
	// Attribute is the resource attribute that named the owner.
	Attribute string
}

// Why says in a line where the owner comes from.
func (a *Answer) Why() string {
	switch {
	case a.Rule == ByAttribute:
		return fmt.Sprintf("the resource attribute %s is %q", a.Attribute, a.Owner)
	case a.Record == nil:
		return "nothing names an owner"
	case a.Owner == Unowned:
		return fmt.Sprintf("%s says that nobody owns it", place(a.Record))
	}
	return fmt.Sprintf("%s: %s", a.Rule, place(a.Record))
}

func place(r *catalog.Record) string {
	if r.Source.Line == 0 {
		return r.Source.File
	}
	return fmt.Sprintf("%s:%d", r.Source.File, r.Source.Line)
}

// Conflict is two records that say differently who owns the same thing at the same time. Winner counts.
type Conflict struct{ Winner, Loser *catalog.Record }

// String says it in a line.
func (c Conflict) String() string {
	return fmt.Sprintf("%s is %s's by %s, and %s's by %s; the first counts", subject(c.Winner), owner(c.Winner), place(c.Winner), owner(c.Loser), place(c.Loser))
}

// subject is what a record is about, in a few words.
func subject(r *catalog.Record) string {
	words := []string{string(r.Kind)}
	switch r.Kind {
	case catalog.Edge:
		words = append(words, r.Caller+"->"+r.Callee)
		if r.Phase != "" {
			words[1] += ":" + r.Phase
		}
	case catalog.Operation:
		words = append(words, cmp.Or(r.Name, "*"), r.Operation)
	case catalog.Path:
		words = append(words, r.Pattern)
	default:
		words = append(words, r.Name)
	}
	for _, w := range []string{r.Namespace, r.Environment} {
		if w != "" {
			words = append(words, "("+w+")")
		}
	}
	return strings.Join(words, " ")
}

func owner(r *catalog.Record) string { return cmp.Or(r.Owner, Unowned) }

// holds says whether a record holds at a time; zero is now.
func holds(r *catalog.Record, at time.Time) bool {
	if at.IsZero() {
		return r.Until.IsZero()
	}
	return !at.Before(r.From) && (r.Until.IsZero() || at.Before(r.Until))
}

func overlap(a, b *catalog.Record) bool {
	return (a.Until.IsZero() || b.From.Before(a.Until)) && (b.Until.IsZero() || a.From.Before(b.Until))
}

// narrower orders records that fit the same thing: those that say more of it first, then those of the format that comes
// first, the newest, and as they stand.
func narrower(precedence []string) func(a, b *catalog.Record) int {
	rank := func(r *catalog.Record) int {
		if at := slices.Index(precedence, r.Source.Format); at >= 0 {
			return at
		}
		return len(precedence)
	}
	return func(a, b *catalog.Record) int {
		return cmp.Or(
			cmp.Compare(detail(b), detail(a)), cmp.Compare(rank(a), rank(b)), b.From.Compare(a.From),
			cmp.Compare(a.Source.File, b.Source.File), cmp.Compare(a.Source.Line, b.Source.Line),
		)
	}
}

// detail is how much a record says of what it is about.
func detail(r *catalog.Record) (n int) {
	for i, text := range []string{r.Phase, r.Environment, r.Namespace} {
		if text != "" {
			n += 1 << i
		}
	}
	// Literal characters: payments* says less than payments-eu*.
	for _, pattern := range []string{r.Name, r.Operation, r.Caller, r.Callee} {
		for _, c := range pattern {
			if c != '*' && c != '?' {
				n += 1 << 3
			}
		}
	}
	return n
}
