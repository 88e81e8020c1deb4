package catalog

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// The formats of path records, each with a meaning of its own: see Paths.
const (
	gitHubOwners = "codeowners"
	gitLabOwners = "gitlab-codeowners"
	sentryOwners = "sentry"
)

// What a pattern can cost is bounded. The longest path that Linux opens has as many bytes.
const (
	patternBytesMax     = 4096
	patternWildcardsMax = 64
	ownersOfLineMax     = 100
	rulesMax            = 100_000 // of a file; GitHub reads no more than 3 MB
)

// boundPattern tells what is too much about a pattern.
func boundPattern(pattern string) error {
	if len(pattern) > patternBytesMax {
		return fmt.Errorf("the pattern is longer than %d bytes", patternBytesMax)
	}
	if strings.Count(pattern, "*") > patternWildcardsMax {
		return fmt.Errorf("the pattern has more than %d wildcards", patternWildcardsMax)
	}
	return nil
}

// CodeOwners reads a CODEOWNERS file. GitLab's differ from GitHub's in what a pattern means, and the bytes do not always
// tell: a file in a folder .gitlab is GitLab's, one in .github is GitHub's, and any other is GitLab's if it has something
// that GitHub's cannot have (a section heading, an exclusion, a role). The records' format says which it was.
//
// An owner is what is written without its @ and without the organisation or topmost group: @acme/pay is pay,
// @acme/shop/pay is shop/pay, @ann is ann. Emails stay whole, and so do GitLab's roles (@@developer), which name nobody
// in particular. A link "owners" has them as written. Links "section", "optional" and "approvals" tell of GitLab's section.
//
// As each forge does, a line with an owner that cannot be one is left out of GitHub's file, and in GitLab's such an owner
// alone is left out. GitHub's comments may follow a rule, GitLab's may not: owners in them count.
func CodeOwners(file string, data []byte) ([]Record, []Problem) {
	text := strings.TrimPrefix(string(data), "\ufeff")
	f := owners{file: file, format: gitHubOwners}
	if isGitLab(file, text) {
		f.format = gitLabOwners
	}
	number := 0
	for line := range strings.Lines(text) {
		number++
		if len(f.records) == rulesMax {
			f.problems = append(f.problems, tooManyRules(file, number))
			break
		}
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			f.line(number, strings.ToValidUTF8(line, "\ufffd"))
		}
	}
	return f.records, f.problems
}

func tooManyRules(file string, line int) Problem {
	return Problem{file, line, fmt.Sprintf("more than %d rules: the others are not read", rulesMax)}
}

// owners is a CODEOWNERS file while it is read.
type owners struct {
	file, format string
	section      []Link
	defaults     mentions // of the section
	records      []Record
	problems     []Problem
}

func (f *owners) line(number int, line string) {
	bad := false
	report := func(format string, args ...any) {
		bad = true
		f.problems = addProblem(f.problems, Problem{File: f.file, Line: number, Reason: fmt.Sprintf(format, args...)})
	}
	gitLab := f.format == gitLabOwners
	if gitLab {
		if h, ok := parseHeading(line); ok {
			if h.name == "" {
				report("a section needs a name")
				return
			}
			if h.problem != "" {
				report("%s", h.problem)
			}
			f.section = h.links()
			f.defaults = f.mentions(h.owners, report)
			return
		}
	}
	if unmerged.MatchString(line) {
		report("a mark of a merge that was not finished: %.20q", line)
		return
	}
	pattern, rest := cutPattern(line)
	excluded := strings.HasPrefix(pattern, "!")
	if err := boundPattern(pattern); err != nil {
		report("%v", err)
		return
	}
	if excluded && !gitLab {
		report("GitHub knows no exclusion: write %q without owners", pattern[1:])
		return
	}
	m := f.mentions(rest, report)
	if bad && !gitLab {
		return // GitHub skips the whole line
	}
	if excluded {
		m = mentions{}
	} else if strings.TrimSpace(rest) == "" {
		m = f.defaults
	}
	r := Record{Kind: Path, Pattern: pattern, Links: f.section, Source: Source{Format: f.format, File: f.file, Line: number}}
	m.own(&r)
	f.records = append(f.records, r)
}

var unmerged = regexp.MustCompile(`^(?:<{7} |={7}$|>{7} )`)

// mentions are owners: their names, and how they were written.
type mentions struct {
	names   []string
	written string
}

// own makes the record theirs.
func (m mentions) own(r *Record) {
	if len(m.names) == 0 {
		return
	}
	for _, name := range m.names {
		r.addOwner(name)
	}
	r.Links = append(r.Links[:len(r.Links):len(r.Links)], Link{"owners", m.written})
}

func (f *owners) mentions(text string, report func(string, ...any)) (m mentions) {
	comment := false
	var written []string
	for field := range strings.FieldsSeq(text) {
		if strings.HasPrefix(field, "#") {
			if f.format == gitHubOwners {
				break
			}
			comment = true
		}
		name, ok := mention(field)
		if !ok {
			if !comment {
				report("%q is neither a name with @ nor an email address", field)
			}
			continue
		}
		if len(m.names) == ownersOfLineMax {
			report("more than %d owners: the others are not read", ownersOfLineMax)
			break
		}
		m.names = append(m.names, name)
		written = append(written, field)
	}
	m.written = cut(strings.Join(written, " "), linkBytesMax)
	return m
}

func mention(s string) (string, bool) {
	if strings.HasPrefix(s, "@@") {
		return s, len(s) > 2
	}
	if name, ok := strings.CutPrefix(s, "@"); ok {
		if _, team, ok := strings.Cut(name, "/"); ok {
			name = team
		}
		return name, name != ""
	}
	return s, isEmail(s)
}

func isEmail(s string) bool {
	user, host, _ := strings.Cut(s, "@")
	return user != "" && host != ""
}

// cutPattern cuts a line at the first space that is not escaped.
func cutPattern(line string) (pattern, rest string) {
	for i := 0; i < len(line); i++ {
		switch line[i] {
		case '\\':
			i++
		case ' ', '\t':
			return line[:i], line[i+1:]
		}
	}
	return line, ""
}

func isGitLab(file, text string) bool {
	folders := "/" + strings.ReplaceAll(file, `\`, "/")
	if strings.Contains(folders, "/.gitlab/") {
		return true
	}
	if strings.Contains(folders, "/.github/") {
		return false
	}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "#") {
			continue
		}
		if _, ok := parseHeading(line); ok || strings.HasPrefix(line, "!") {
			return true
		}
		_, rest := cutPattern(line)
		for field := range strings.FieldsSeq(rest) {
			if field[0] == '#' {
				break
			}
			if strings.HasPrefix(field, "@@") {
				return true
			}
		}
	}
	return false
}

// heading is the line that begins a section: ^[Name][2] @default-owner, where all but the name can be missing.
type heading struct {
	name, owners, problem string
	optional              bool
	approvals             int
}

func parseHeading(line string) (h heading, ok bool) {
	line, h.optional = strings.CutPrefix(line, "^")
	if !strings.HasPrefix(line, "[") {
		return h, false
	}
	name, rest, ok := strings.Cut(line[1:], "]")
	if !ok {
		return h, false
	}
	h.name = strings.TrimSpace(name)
	if strings.HasPrefix(rest, "[") {
		number, after, closed := strings.Cut(rest[1:], "]")
		if !closed {
			return h, false
		}
		n, err := strconv.Atoi(number)
		if err != nil || n < 0 {
			n, h.problem = 0, fmt.Sprintf("%q is no number of approvals", number)
		}
		h.approvals, rest = n, after
	}
	if rest != "" && rest[0] != ' ' && rest[0] != '\t' {
		return h, false // a pattern such as [a].txt
	}
	h.owners = rest
	return h, true
}

func (h heading) links() []Link {
	links := []Link{{"section", h.name}}
	if h.optional {
		links = append(links, Link{"optional", "true"})
	}
	if h.approvals > 0 {
		links = append(links, Link{"approvals", strconv.Itoa(h.approvals)})
	}
	return links
}
