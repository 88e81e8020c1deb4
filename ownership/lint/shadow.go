package lint

import (
	"slices"
	"strings"

	"github.com/whosehop/whosehop/ownership"
	"github.com/whosehop/whosehop/ownership/catalog"
)

// repeated finds records that say what another of the same format has said already. Where two formats say the same, each may be
// the source for somebody.
func (c *checker) repeated() {
	type said struct {
		format                                  string
		kind                                    catalog.Kind
		name, namespace, environment, operation string
		caller, callee, phase, owner            string
	}
	first := make(map[said]*catalog.Record)
	for i := range c.records {
		r := &c.records[i]
		if r.Kind == catalog.Path || r.Owner == "" && r.Accountable == "" || c.ended(r) {
			continue
		}
		key := said{
			r.Source.Format, r.Kind, r.Name, r.Namespace, r.Environment, r.Operation, r.Caller, r.Callee, r.Phase, strings.ToLower(r.Owner) + "|" + r.Accountable,
		}
		before := first[key]
		if before == nil {
			first[key] = r
			continue
		}
		if !r.From.Before(before.From) && (before.Until.IsZero() || !r.Until.IsZero() && !r.Until.After(before.Until)) {
			c.found(Shadowed, r, nil, "%s says what %s says already", ownership.Subject(r), before.Source).Other = &before.Source
		}
	}
}

// paths finds lines of a file that never count, for a later one takes all that they fit: the last that fits wins.
func (c *checker) paths() {
	type section struct{ format, file, name string }
	of := make(map[section][]*catalog.Record)
	var order []section
	for i := range c.records {
		r := &c.records[i]
		if r.Kind != catalog.Path || !r.From.IsZero() || !r.Until.IsZero() || strings.HasPrefix(r.Pattern, "!") {
			continue
		}
		s := section{r.Source.Format, r.Source.File, ""}
		for _, l := range r.Links {
			if l.Name == "section" {
				s.name = strings.ToLower(l.Target)
			}
		}
		if of[s] == nil {
			order = append(order, s)
		}
		of[s] = append(of[s], r)
	}
	for _, s := range order {
		c.shadowedPaths(of[s], s.format)
	}
}

func (c *checker) shadowedPaths(lines []*catalog.Record, format string) {
	same, folders := make(map[string]*catalog.Record), make(map[string]*catalog.Record) // later lines
	for _, r := range slices.Backward(lines) {
		later := same[r.Pattern]
		folder, anchored := "", false
		if format != "sentry" {
			folder, anchored = folderOf(r.Pattern, strings.HasPrefix(format, "gitlab"))
			for at := folder; later == nil && anchored; at = at[:max(0, strings.LastIndexByte(at, '/'))] {
				if later = folders[at]; at == "" {
					break
				}
			}
			if later == nil {
				later = folders[""]
			}
		}
		// Of one owner it is no harm, and often meant: to GitLab /src is the file, and /src/ the folder.
		if later != nil && later.Pattern != r.Pattern && later.Owner == r.Owner && slices.Equal(later.Owners, r.Owners) {
			continue
		}
		if later != nil {
			c.found(Shadowed, r, []string{r.Pattern}, "%s never counts: %s by the later %s takes all that it fits", r.Pattern, later.Pattern, later.Source).Other = &later.Source
			continue
		}
		same[r.Pattern] = r
		if whole, ok := wholeFolder(r.Pattern, folder, anchored); ok && format != "sentry" {
			folders[whole] = r
		}
	}
}

// folderOf is the folder that all files of a pattern lie in, without a slash at either end, and whether the pattern begins at
// the root.
func folderOf(pattern string, gitLab bool) (folder string, anchored bool) {
	body := strings.TrimSuffix(pattern, "/")
	if anchored = strings.HasPrefix(body, "/") || !gitLab && strings.Contains(body, "/"); !anchored || strings.HasPrefix(body, "**/") {
		return "", false
	}
	body = strings.Trim(body, "/")
	if wild := strings.IndexAny(body, `*?[\`); wild >= 0 {
		body = body[:max(0, strings.LastIndexByte(body[:wild], '/'))]
	}
	return body, true
}

// wholeFolder is the folder of which a pattern takes all, "" for the whole repository.
func wholeFolder(pattern, folder string, anchored bool) (string, bool) {
	switch pattern {
	case "*", "**", "/**", "**/*":
		return "", true
	}
	rest := strings.Trim(strings.TrimPrefix(strings.Trim(pattern, "/"), folder), "/")
	return folder, anchored && folder != "" && (rest == "" || rest == "**")
}
