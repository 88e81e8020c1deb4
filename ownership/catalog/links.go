package catalog

import (
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	linksMax     = 64 // of one record
	linkBytesMax = 1024
	linkDepthMax = 5
)

// credential is the name of a field that may hold one. It errs on the safe side: a project key is lost as well.
var credential = regexp.MustCompile(`(?i)token|secret|passw|passphrase|pwd|credential|key|webhook|auth\b|authoriz|bearer|dsn|cert|private|signature`)

// inURL are the parts of URLs that are credentials: user and password, parameters, and all of a chat's webhook.
var inURL = []struct {
	part *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`://[^/\s?#]*@`), "://"},
	{regexp.MustCompile(`(?i)([?&][^=&#\s]*(?:token|secret|passw|passphrase|pwd|key|sig|auth|bearer|dsn)[^=&#\s]*=)[^&#\s]*`), "$1"},
	{regexp.MustCompile(`(?i)\w+://(?:hooks\.slack\.com|[^/\s]*webhook\.office\.com|[^/\s]*discord(?:app)?\.com/api/webhooks)/\S*`), ""},
}

// token is the look of well-known credentials, wherever they stand.
var token = regexp.MustCompile(`\b(?:gh[pousr]_\w{20,}|glpat-[\w-]{16,}|xox[a-z]-[\w-]{10,}|AKIA[0-9A-Z]{16}|[rs]k_(?:live|test)_\w{8,}|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]*)`)

// inText is a field in a text, such as in the JSON of an annotation, that is a credential by its name.
var inText = regexp.MustCompile(`(?i)((?:token|secret|passw(?:or)?d|passphrase|pwd|bearer|dsn|(?:api|access|private|signing|routing|integration)[-_ ]?key)` + givenAs +
	`|authorization` + givenAs + `(?:(?:bearer|basic|token)\s+)?)[^\s"'\\,;&#}]+`)

const givenAs = `\\?["']?\s*[:=]\s*\\?["']?`

// inAddress are user and password before the address of a database, as drivers write it: user:password@tcp(host:3306)/db.
var inAddress = regexp.MustCompile(`[^\s"'=,;@]*:[^\s"']*@((?:tcp[46]?|udp[46]?|unix|cloudsql)\()`)

// public is s without the credentials in it that can be told by their looks.
func public(s string) string {
	s = token.ReplaceAllString(s, "…")
	if strings.Contains(s, "://") {
		for _, c := range inURL {
			s = c.part.ReplaceAllString(s, c.with)
		}
	}
	if strings.Contains(s, "@") {
		s = inAddress.ReplaceAllString(s, "$1")
	}
	if strings.ContainsAny(s, ":=") {
		s = inText.ReplaceAllString(s, "${1}…")
	}
	return s
}

// link keeps a link, or a field, that is named by the source, unless it may be a credential.
func (r *Record) link(name, target string) {
	if !credential.MatchString(name) {
		r.Links = addLink(r.Links, name, target)
	}
}

// titled keeps a link with a title. A title is no field's name: "API keys, how to get one" is kept where it leads to a
// page, and without its title, for that would be taken for a field's name when it is read again.
func (r *Record) titled(kind, title, target string) {
	switch {
	case credential.MatchString(kind) || webhook.MatchString(title):
		return
	case !credential.MatchString(title):
		kind = strings.TrimSpace(kind + " " + title)
	case !strings.Contains(target, "://"):
		return
	}
	if kind == "" {
		kind = "link"
	}
	r.Links = addLink(r.Links, kind, target)
}

var webhook = regexp.MustCompile(`(?i)web-?_?\s?hook`)

// addLink keeps a link. Of a text of many lines that is the first.
func addLink(links []Link, name, target string) []Link {
	target, _, more := strings.Cut(target, "\n")
	if target = strings.TrimSpace(target); more && target != "" {
		target += " …"
	}
	target = cut(target, linkBytesMax)
	switch {
	case target == "" || len(links) > linksMax:
		return links
	case len(links) == linksMax:
		return append(links, Link{Name: "…", Target: "further fields are not kept"})
	}
	return append(links, Link{Name: cut(name, nameBytesMax), Target: target})
}

// rest adds the fields of n that are not known, those of nested ones by a dotted name, and none that may be a credential.
func rest(links []Link, n *yaml.Node, prefix string, known ...string) []Link {
	for key, value := range fieldsOf(n) {
		if !slices.Contains(known, key.Value) {
			links = leaves(links, prefix+key.Value, value, 0)
		}
	}
	return links
}

func leaves(links []Link, name string, n *yaml.Node, depth int) []Link {
	switch {
	case len(links) > linksMax || credential.MatchString(name):
	case depth > linkDepthMax:
		links = addLink(links, name, "nested too deep: not kept")
	case n.Kind == yaml.MappingNode:
		for key, value := range fieldsOf(n) {
			links = leaves(links, name+"."+key.Value, value, depth+1)
		}
	case n.Kind == yaml.SequenceNode:
		for _, item := range n.Content {
			links = leaves(links, name, item, depth+1)
		}
	default:
		links = addLink(links, name, text(n))
	}
	return links
}

// kinds of links, by the words of their type, title and address. The first that fits is it.
var kindsOfLinks = []struct {
	words *regexp.Regexp
	field func(*Charter) *string
}{
	{regexp.MustCompile(`(?i)run-?_?\s?book|play-?_?\s?book`), func(c *Charter) *string { return &c.Runbook }},
	{regexp.MustCompile(`(?i)on-?_?\s?call|pager-?_?\s?duty|ops-?_?\s?genie|victor-?_?\s?ops`), func(c *Charter) *string { return &c.OnCall }},
	{regexp.MustCompile(`(?i)dash-?_?\s?board|grafana`), func(c *Charter) *string { return &c.Dashboard }},
	{regexp.MustCompile(`(?i)\bchat\b|slack|ms-?_?\s?teams|teams\.microsoft|mattermost|discord|gitter|zulip`), func(c *Charter) *string { return &c.Chat }},
	{regexp.MustCompile(`(?i)\brepo(sitory)?\b|source[ -_]?code|\bcode\b`), func(c *Charter) *string { return &c.Repository }},
	{regexp.MustCompile(`\bSLOs?\b|\bslos?\b`), func(c *Charter) *string { return &c.SLO }},
}

// place puts a link where the charter has a place for it, if that is empty, else among the links: its type and its
// title say what it is, or else its address does.
func (r *Record) place(kind, title, target string) {
	if target == "" || credential.MatchString(kind) || webhook.MatchString(title) || credential.MatchString(title) && !strings.Contains(target, "://") {
		return
	}
	for _, says := range []string{kind, title, target} {
		for _, k := range kindsOfLinks {
			if !k.words.MatchString(says) {
				continue
			}
			if field := k.field(&r.Charter); *field == "" {
				*field = cut(target, linkBytesMax)
				return
			}
			r.titled(kind, title, target)
			return
		}
	}
	r.titled(kind, title, target)
}
