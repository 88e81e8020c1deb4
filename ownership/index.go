package ownership

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// nameBytesMax bounds what is looked at of a name, and how long a pattern can be: names come with spans, and can be anything.
const nameBytesMax = 1024

// patterns keeps values by names, or by patterns of such: * stands for any text, ? for one character. Patterns lie by
// what is literal at their beginning or end, whichever is longer. So a name is looked up once for each length of those that
// there is, however many patterns there are; only those that share that text with the name are tried one by one.
type patterns[T any] struct {
	exact    map[string]*T
	wild     map[string]*T // to find them again while they are added
	prefixes literals[T]
	suffixes literals[T]
}

// literals are patterns by their literal beginning, or end.
type literals[T any] struct {
	of      map[string][]pattern[T]
	lengths []length // in ascending order
}

// length is a length of literals that there are. Most names have no such literal: that is told by the character at its
// inner end, often a separator, for much less than a map costs.
type length struct {
	n     int
	inner [4]uint64
}

func (l *length) mayEndAt(c byte) bool { return l.inner[c>>6]&(1<<(c&63)) != 0 }

type pattern[T any] struct {
	text  string
	value *T
}

// at is the value of a name or a pattern, made when there is none.
func (x *patterns[T]) at(name string) *T {
	if x.exact == nil {
		x.exact, x.wild = make(map[string]*T), make(map[string]*T)
	}
	of := x.exact
	if isPattern(name) {
		of = x.wild
	}
	value := of[name]
	if value == nil {
		value = new(T)
		of[name] = value
		if isPattern(name) {
			x.addPattern(pattern[T]{name, value})
		}
	}
	return value
}

func (x *patterns[T]) addPattern(p pattern[T]) {
	prefix, suffix := p.text[:strings.IndexAny(p.text, wildcards)], p.text[strings.LastIndexAny(p.text, wildcards)+1:]
	if len(prefix) >= len(suffix) {
		x.prefixes.add(prefix, len(prefix)-1, p)
	} else {
		x.suffixes.add(suffix, 0, p)
	}
}

// add adds a pattern by its literal, the inner end of which is its character at i.
func (l *literals[T]) add(literal string, i int, p pattern[T]) {
	if l.of == nil {
		l.of = make(map[string][]pattern[T])
	}
	l.of[literal] = append(l.of[literal], p)
	at, known := slices.BinarySearchFunc(l.lengths, len(literal), func(l length, n int) int { return l.n - n })
	if !known {
		l.lengths = slices.Insert(l.lengths, at, length{n: len(literal)})
	}
	if literal != "" {
		c := literal[i]
		l.lengths[at].inner[c>>6] |= 1 << (c & 63)
	}
}

// eachPattern visits the values of the patterns that a name is of.
func (x *patterns[T]) eachPattern(name string, visit func(*T)) {
	for i := range x.prefixes.lengths {
		l := &x.prefixes.lengths[i]
		if l.n > len(name) {
			break
		}
		if l.n == 0 || l.mayEndAt(name[l.n-1]) {
			visitFitting(x.prefixes.of[name[:l.n]], name, visit)
		}
	}
	for i := range x.suffixes.lengths {
		l := &x.suffixes.lengths[i]
		if l.n > len(name) {
			break
		}
		if l.mayEndAt(name[len(name)-l.n]) { // none is empty: such lie by their beginning
			visitFitting(x.suffixes.of[name[len(name)-l.n:]], name, visit)
		}
	}
}

func visitFitting[T any](list []pattern[T], name string, visit func(*T)) {
	for i := range list {
		if fits(list[i].text, name) {
			visit(list[i].value)
		}
	}
}

const wildcards = "*?"

func isPattern(name string) bool { return strings.ContainsAny(name, wildcards) }

// fits says whether a name is of a pattern. It goes back to the last star only, and so takes no longer than the product
// of the lengths.
func fits(pattern, name string) bool {
	if end := len(pattern) - 1; end >= 0 && pattern[end] != '*' && pattern[end] != '?' && (name == "" || name[len(name)-1] != pattern[end]) {
		return false // most that do not fit are told by their end
	}
	p, n, star, from := 0, 0, -1, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			if p++; p == len(pattern) {
				return true
			}
			star, from = p, n
		case p < len(pattern) && pattern[p] == '?':
			p, n = p+1, n+characterAt(name, n)
		case p < len(pattern) && pattern[p] == name[n]:
			p, n = p+1, n+1
		case star >= 0:
			from += characterAt(name, from)
			p, n = star, from
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// characterAt is how many bytes a character has.
func characterAt(s string, at int) int {
	if s[at] < utf8.RuneSelf {
		return 1
	}
	_, n := utf8.DecodeRuneInString(s[at:])
	return n
}

// plain is a pattern without the stars that add nothing to the one before.
func plain(pattern string) string {
	for strings.Contains(pattern, "**") {
		pattern = strings.ReplaceAll(pattern, "**", "*")
	}
	return pattern
}

// shortened is what is looked at of a name.
func shortened(name string) string { return name[:min(len(name), nameBytesMax)] }

// Fits says whether a name is of a pattern, in which * stands for any text and ? for one character.
func Fits(pattern, name string) bool { return fits(pattern, shortened(name)) }
