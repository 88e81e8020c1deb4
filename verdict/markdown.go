package verdict

import (
	"fmt"
	"strings"
	"time"
)

// Reach is how an owner is reached.
type Reach struct{ Name, Target string }

// Context is what Markdown says beside the verdict; what is empty is left out.
type Context struct {
	Link  string // to the verdict's page
	Trace string // to the trace in another store
	// Reach says how an owner is reached.
	Reach func(owner string) []Reach
}

// evidenceMost and clearedMost keep a message short.
const (
	evidenceMost = 4
	sharesMost   = 3
	clearedMost  = 12
)

// Markdown is the verdict as a message for the channel of an incident.
func (v *Verdict) Markdown(c Context) string {
	var b strings.Builder
	fmt.Fprintf(&b, "**%s**\n\n", plain(v.Summary))
	fmt.Fprintf(&b, "- Request: %s, %s, took %s, %s", code(strings.TrimSpace(v.Entry.Service+" "+v.Entry.Operation)), v.Symptom, Took(v.Entry.DurationNs),
		time.Unix(0, v.Entry.Start.UnixNs).UTC().Format("2006-01-02 15:04:05 UTC"))
	if v.Provisional {
		b.WriteString(" (provisional: spans are still coming in)")
	}
	b.WriteString("\n")
	for i := range v.Shares {
		if i == sharesMost {
			fmt.Fprintf(&b, "- %d smaller shares are left out\n", len(v.Shares)-i)
			break
		}
		v.Shares[i].markdown(&b, &c)
	}
	var cleared []string
	for _, h := range v.Hops {
		if h.Role == RoleCleared {
			cleared = append(cleared, code(h.Service))
		}
	}
	if len(cleared) > 0 {
		fmt.Fprintf(&b, "- Cleared: %s", strings.Join(cleared[:min(len(cleared), clearedMost)], ", "))
		if more := len(cleared) - clearedMost; more > 0 {
			fmt.Fprintf(&b, " and %d more", more)
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "- Trace: %s", code(v.TraceID))
	for _, link := range [...]Reach{{"verdict", c.Link}, {"trace", c.Trace}} {
		if link.Target != "" {
			fmt.Fprintf(&b, " · [%s](%s)", link.Name, target(link.Target))
		}
	}
	b.WriteString("\n")
	return b.String()
}

func (s *Share) markdown(b *strings.Builder, c *Context) {
	what := "To blame"
	if s.Weight < 0.995 {
		what += " for " + Percent(s.Weight)
	}
	fmt.Fprintf(b, "- %s: %s", what, code(s.Site.String()))
	if s.Accountable != "" && s.Accountable != s.Site.Service && s.Accountable != s.Site.Peer {
		fmt.Fprintf(b, ", and %s must act", code(s.Accountable))
	}
	fmt.Fprintf(b, "; owner **%s**", plain(s.Owner))
	if c.Reach != nil {
		for i, r := range c.Reach(s.Owner) {
			join := ", "
			if i == 0 {
				join = ": "
			}
			if strings.HasPrefix(r.Target, "https://") || strings.HasPrefix(r.Target, "http://") {
				fmt.Fprintf(b, "%s[%s](%s)", join, plain(r.Name), target(r.Target))
			} else {
				fmt.Fprintf(b, "%s%s %s", join, plain(r.Name), code(r.Target))
			}
		}
	}
	fmt.Fprintf(b, "; rule %s, confidence %s\n", code(s.Rule), Percent(s.Confidence))
	for _, e := range s.Evidence[:min(len(s.Evidence), evidenceMost)] {
		fmt.Fprintf(b, "  - %s\n", plain(e))
	}
}

// calls are words that call everybody of a channel.
var calls = strings.NewReplacer("@here", "@ here", "@channel", "@ channel", "@everyone", "@ everyone", "@all", "@ all")

// plain is a text of others in which nothing is markup. What is in a span may be anything. As little as can be is escaped: chats
// that know some of Markdown only show the backslashes.
func plain(s string) string {
	var b strings.Builder
	word := func(i int) bool {
		return i >= 0 && i < len(s) && (s[i] >= '0' && s[i] <= '9' || s[i]|0x20 >= 'a' && s[i]|0x20 <= 'z')
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c == '\n' || c == '\r':
			b.WriteByte(' ')
			continue
		case strings.IndexByte("\\`*[<~", c) >= 0, c == '_' && (!word(i-1) || !word(i+1)), i == 0 && strings.IndexByte("#>-+|", c) >= 0:
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	return calls.Replace(b.String())
}

// code is a name as it is. A code span ends at as many backticks as it began with.
func code(s string) string {
	s = calls.Replace(strings.NewReplacer("\n", " ", "\r", " ", "`", "'").Replace(s))
	return "`" + s + "`"
}

// target is an address within the parentheses of a link.
func target(s string) string {
	return strings.NewReplacer("(", "%28", ")", "%29", " ", "%20", "<", "%3C", ">", "%3E", "\n", "", "\r", "").Replace(s)
}
