package ownership

import "strings"

// Names are names and patterns of such, to look names up in. Case does not count.
type Names struct{ known patterns[bool] }

// Add adds a name, or a pattern.
func (n *Names) Add(name string) {
	if len(name) <= nameBytesMax {
		*n.known.at(plain(strings.ToLower(name))) = true
	}
}

// Has says whether a name is one of them, or of a pattern among them.
func (n *Names) Has(name string) bool {
	name = strings.ToLower(shortened(name))
	if n.known.exact[name] != nil {
		return true
	}
	found := false
	n.known.eachPattern(name, func(*bool) { found = true })
	return found
}
