package catalog

import (
	"bytes"
	"slices"
	"strings"
)

// prefix is a place in the tree of Sentry's globs. It is made of the segments before a glob's first wildcard, so that a
// lookup tries only the globs whose beginning the path has.
type prefix struct {
	separator byte
	next      map[string]*prefix
	exact     []int32           // the lines without a wildcard that end here
	tails     map[string][]tail // by extension, those whose end does not fix it under ""
}

// tail is what follows the last separator before a glob's first wildcard.
type tail struct {
	glob string
	rank int32
}

func (t *prefix) add(glob string, rank int32) {
	glob = string(lower(make([]byte, 0, len(glob)), glob))
	separator := string(t.separator)
	i := strings.IndexAny(glob, "*?[")
	wild := i >= 0
	if !wild {
		i = len(glob)
	}
	rest := glob
	if cut := strings.LastIndexByte(glob[:i], t.separator); cut >= 0 {
		rest = glob[cut+1:]
		for segment := range strings.SplitSeq(glob[:cut], separator) {
			t = t.child(segment)
		}
	}
	if !wild {
		end := t.child(rest)
		end.exact = append(end.exact, rank)
		return
	}
	if t.tails == nil {
		t.tails = map[string][]tail{}
	}
	ext := globExt(rest)
	t.tails[ext] = append(t.tails[ext], tail{rest, rank})
}

func (t *prefix) child(segment string) *prefix {
	to := t.next[segment]
	if to == nil {
		to = &prefix{separator: t.separator}
		if t.next == nil {
			t.next = map[string]*prefix{}
		}
		t.next[segment] = to
	}
	return to
}

func (t *prefix) match(p *Paths, text string, won *ranks) {
	if t.next == nil && t.tails == nil {
		return
	}
	var buf [pathBytesMax]byte
	s := lower(buf[:0], text)
	ext := pathExt(s)
	for at := 0; ; {
		if len(ext) > 0 {
			p.takeTails(t.tails[string(ext)], s[at:], won)
		}
		p.takeTails(t.tails[""], s[at:], won)
		end := bytes.IndexByte(s[at:], t.separator)
		if end < 0 {
			if t = t.next[string(s[at:])]; t != nil {
				p.take(t.exact, won)
			}
			return
		}
		if t = t.next[string(s[at:at+end])]; t == nil {
			return
		}
		at += end + 1
	}
}

func (p *Paths) takeTails(tails []tail, s []byte, won *ranks) {
	for _, t := range slices.Backward(tails) { // in their order: the first that matches is the best
		if t.rank <= won.of[0] {
			return
		}
		if p.holds(t.rank, won.atNs) && matches(t.glob, s) {
			won.of[0] = t.rank
		}
	}
}

// lower folds ASCII letters and the slashes of Windows.
func lower(b []byte, s string) []byte {
	for i := range len(s) {
		c := s[i]
		switch {
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		case c == '\\':
			c = '/'
		}
		b = append(b, c)
	}
	return b
}
