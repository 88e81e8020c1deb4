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
	exact     int32             // the line without a wildcard that ends here
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
		t.child(rest).exact = rank
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

func (t *prefix) match(text string, won *ranks) {
	if t.next == nil && t.tails == nil {
		return
	}
	var buf [pathBytesMax]byte
	s := lower(buf[:0], text)
	ext := pathExt(s)
	for at := 0; ; {
		if len(ext) > 0 {
			takeTails(t.tails[string(ext)], s[at:], won)
		}
		takeTails(t.tails[""], s[at:], won)
		end := bytes.IndexByte(s[at:], t.separator)
		if end < 0 {
			if t = t.next[string(s[at:])]; t != nil {
				won[0] = max(won[0], t.exact)
			}
			return
		}
		if t = t.next[string(s[at:at+end])]; t == nil {
			return
		}
		at += end + 1
	}
}

func takeTails(tails []tail, s []byte, won *ranks) {
	for _, t := range slices.Backward(tails) { // in their order: the first that matches is the best
		if t.rank <= won[0] {
			return
		}
		if matches(t.glob, s) {
			won[0] = t.rank
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
