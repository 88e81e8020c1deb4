package catalog

import (
	"fmt"
	"strings"
)

// Sentry reads Sentry's ownership rules: a matcher, then owners, #team or an email address. The pattern of a record keeps
// the matcher's kind: "path:src/*", "module:com.acme.*", "url:https://…", "tags.region:eu", "codeowners:/src/". A pattern
// without a kind is one of paths, and a quoted one is kept without its quotes. Paths knows what path and codeowners mean,
// and module in a stack frame; url and tags are for whom has the span's attributes.
//
// The owner of #pay is pay; addresses are in lower case, as Sentry has them. A rule without owners un-owns. A link
// "owners" has them as written.
func Sentry(file string, data []byte) (records []Record, problems []Problem) {
	number := 0
	for line := range strings.Lines(strings.TrimPrefix(string(data), "\ufeff")) {
		number++
		if len(records) == rulesMax {
			return records, append(problems, tooManyRules(file, number))
		}
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		r, err := sentryRule(strings.ToValidUTF8(line, "\ufffd"))
		if err != nil {
			problems = addProblem(problems, Problem{File: file, Line: number, Reason: err.Error()})
			continue
		}
		r.Source = Source{Format: sentryOwners, File: file, Line: number}
		records = append(records, r)
	}
	return records, problems
}

func sentryRule(line string) (Record, error) {
	kind, rest := sentryKind(line)
	pattern, rest, err := sentryPattern(rest)
	if err != nil {
		return Record{}, err
	}
	if pattern == "" {
		return Record{}, fmt.Errorf("%s has no pattern", kind)
	}
	if kind == "url" {
		pattern = tidy(pattern)
	}
	pattern = kind + ":" + pattern
	if err := boundPattern(pattern); err != nil {
		return Record{}, err
	}
	var m mentions
	for field := range strings.FieldsSeq(rest) {
		name, team := strings.CutPrefix(field, "#")
		if !team {
			name = strings.ToLower(name)
		}
		if name == "" || !team && !isEmail(name) {
			return Record{}, fmt.Errorf("%q is neither a #team nor an email address", field)
		}
		if len(m.names) == ownersOfLineMax {
			return Record{}, fmt.Errorf("the rule has more than %d owners", ownersOfLineMax)
		}
		m.names = append(m.names, name)
	}
	m.written = cut(strings.TrimSpace(rest), linkBytesMax)
	r := Record{Kind: Path, Pattern: pattern}
	m.own(&r)
	return r, nil
}

func sentryKind(line string) (kind, rest string) {
	kind, rest, ok := strings.Cut(line, ":")
	if !ok {
		return "path", line
	}
	switch kind {
	case "path", "module", "url", "codeowners":
		return kind, rest
	}
	if key, ok := strings.CutPrefix(kind, "tags."); ok && key != "" && !strings.ContainsAny(key, " \t\"") {
		return kind, rest
	}
	return "path", line
}

// sentryPattern cuts the pattern from what follows its kind.
func sentryPattern(s string) (pattern, rest string, err error) {
	if !strings.HasPrefix(s, `"`) {
		if i := strings.IndexAny(s, " \t"); i >= 0 {
			return s[:i], s[i:], nil
		}
		return s, "", nil
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:], nil
		case s[i] == '\\' && i+1 < len(s):
			i++
		}
		b.WriteByte(s[i])
	}
	return "", "", fmt.Errorf("the quote is not closed: %.40s", s)
}
