package catalog

import "strings"

// matches tells whether the glob matches all of s: * is any text, ? any character, [a-z] and [!a-z] one of some, and a
// backslash takes the next as it is.
// It takes at most the product of both lengths, for only the last * can be where it went wrong.
func matches[T string | []byte](glob string, s T) bool {
	g, i := 0, 0
	star, from := -1, 0
	for i < len(s) {
		if g < len(glob) {
			c := glob[g]
			switch {
			case c == '*':
				star, from = g, i
				g++
				continue
			case c == '?':
				g++
				i++
				for i < len(s) && s[i]&0xC0 == 0x80 { // the rest of the character
					i++
				}
				continue
			case c == '[':
				if n, ok := class(glob[g:], s[i]); ok {
					g, i = g+n, i+1
					continue
				}
			case c == '\\' && g+1 < len(glob):
				if glob[g+1] == s[i] {
					g, i = g+2, i+1
					continue
				}
			case c == s[i]:
				g, i = g+1, i+1
				continue
			}
		}
		if star < 0 {
			return false
		}
		from++
		g, i = star+1, from
	}
	for g < len(glob) && glob[g] == '*' {
		g++
	}
	return g == len(glob)
}

// class tells whether the character is one of those in brackets that the glob begins with, and how long that is. A
// bracket that is not closed is itself.
func class(glob string, c byte) (length int, ok bool) {
	set, _, closed := strings.Cut(glob[1:], "]")
	if !closed {
		return 1, c == '['
	}
	length = len(set) + 2
	not := strings.HasPrefix(set, "!") || strings.HasPrefix(set, "^")
	if not {
		set = set[1:]
	}
	in := false
	for i := 0; i < len(set); i++ {
		low, high := set[i], set[i]
		if i+2 < len(set) && set[i+1] == '-' {
			high = set[i+2]
			i += 2
		}
		in = in || low <= c && c <= high
	}
	return length, in != not
}

func isGlob(segment string) bool {
	for i := 0; i < len(segment); i++ {
		switch segment[i] {
		case '\\':
			i++
		case '*', '?':
			return true
		}
	}
	return false
}

func unescape(segment string) string {
	if !strings.Contains(segment, `\`) {
		return segment
	}
	b := make([]byte, 0, len(segment))
	for i := 0; i < len(segment); i++ {
		if segment[i] == '\\' && i+1 < len(segment) {
			i++
		}
		b = append(b, segment[i])
	}
	return string(b)
}

// globExt is the extension that whatever the glob matches has, and empty if there is none or more than one.
func globExt(glob string) string {
	if strings.Contains(glob, `\`) {
		return ""
	}
	return pathExt(glob[strings.LastIndexAny(glob, "*?]")+1:])
}

// pathExt is the last name's extension with its dot.
func pathExt[T string | []byte](path T) T {
	for i := len(path) - 1; i >= 0 && !isSlash(path[i]); i-- {
		if path[i] == '.' {
			return path[i:]
		}
	}
	return path[:0]
}
