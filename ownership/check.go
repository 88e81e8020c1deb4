package ownership

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/whosehop/whosehop/ownership/catalog"
)

// The bounds of what is applied. What one thing has records of is compared each with each.
const (
	RecordsMost     = 200_000   // of a set
	RecordBytesMost = 512 << 10 // as JSON: a message of gRPC has 1 MiB
	SetsMost        = 1000
	aboutMost       = 200 // records of one thing that are not the lines of a file
	textBytesMost   = 4096
	wrongMost       = 20 // that are said
)

var setName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]{0,99}$`)

// Check says what is wrong with what is to be applied; nil is nothing. Whatever reads files has checked this before; who else
// asks may send anything.
func (w *Wanted) Check() (wrong []string) {
	if !setName.MatchString(w.Set) {
		return []string{fmt.Sprintf("%q is no name of a set: letters, digits and . _ / - make one, 100 at most", short(w.Set))}
	}
	if len(w.Records) > RecordsMost {
		return []string{fmt.Sprintf("%d records: a set has %d at most; apply them as several sets", len(w.Records), RecordsMost)}
	}
	about := make(map[thing]int)
	for i := range w.Records {
		c := &w.Records[i]
		reason := check(c)
		if t := thingOf(c); reason == "" && c.Kind != catalog.Path {
			if about[t]++; about[t] == aboutMost+1 {
				reason = fmt.Sprintf("is one of more than %d that are about the same", aboutMost)
			}
		}
		if reason == "" {
			continue
		}
		where := c.Source.String()
		if where == "" {
			where = fmt.Sprint("record ", i+1)
		}
		if len(wrong) == wrongMost {
			return append(wrong, "and more")
		}
		wrong = append(wrong, fmt.Sprintf("%s: %s %s", where, short(Subject(c)), reason))
	}
	return wrong
}

func short(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}

// check says what is wrong with a record, or nothing.
func check(c *catalog.Record) string {
	const aliasesMost = 1000 // each is a name that the thing is looked up by
	if len(c.Aliases) > aliasesMost {
		return fmt.Sprintf("has %d aliases: %d are the most", len(c.Aliases), aliasesMost)
	}
	missing := ""
	switch c.Kind {
	case catalog.Service, catalog.Datastore, catalog.Queue, catalog.ThirdParty, catalog.Team, catalog.Namespace, catalog.API, catalog.System:
		if c.Name == "" {
			missing = "name"
		}
	case catalog.Operation:
		if strings.TrimSpace(c.Operation) == "" {
			missing = "operation"
		}
	case catalog.Edge:
		if c.Caller == "" || c.Callee == "" {
			missing = "caller or no callee"
		}
	case catalog.Path:
		if c.Pattern == "" {
			missing = "pattern"
		}
	default:
		return fmt.Sprintf("is of no kind that is known: %q", short(string(c.Kind)))
	}
	if missing != "" {
		return "has no " + missing
	}
	if c.Accountable != "" && (c.Kind != catalog.Edge || c.Accountable != Caller && c.Accountable != Callee) {
		return fmt.Sprintf("has %q accountable: that is caller or callee, of an edge", short(c.Accountable))
	}
	switch {
	case c.Phase != "" && (c.Kind != catalog.Edge || !slices.Contains(catalog.Phases, c.Phase)):
		return fmt.Sprintf("has the phase %q: of an edge, %s are known", short(c.Phase), strings.Join(catalog.Phases, ", "))
	case c.Accountable != "" && c.Owner != "":
		return "has an owner and an accountable side: give one of them"
	case c.Accountable == "" && c.Owner == "" && (c.Kind == catalog.Edge || c.Kind == catalog.Operation):
		return "has no owner"
	}
	for _, name := range []string{c.Name, c.Namespace, c.Environment, c.Operation, c.Caller, c.Callee, c.Phase, c.Pattern, c.Owner, c.Source.File, c.Source.Format} {
		if len(name) > textBytesMost || !utf8.ValidString(name) {
			return fmt.Sprintf("has a name of more than %d bytes, or one that is not UTF-8", textBytesMost)
		}
	}
	early, late := time.Date(1971, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, at := range []time.Time{c.From, c.Until} {
		if !at.IsZero() && (at.Before(early) || !at.Before(late)) {
			return "holds from or until a time that is not within 1971 and 2199"
		}
	}
	if !c.Until.IsZero() && !c.Until.After(c.From) {
		return "ends before it begins"
	}
	if slices.Contains(c.Aliases, "") {
		return "has an empty alias"
	}
	if n := len(text(c)); n > RecordBytesMost {
		return fmt.Sprintf("has %d bytes as JSON, %d are the most", n, RecordBytesMost)
	}
	return ""
}
