package trace

// Words finds words in texts, in whatever case: all of them in one pass.
type Words struct {
	// by holds the words by their first byte.
	by [256][]word
	// pairs has a bit for every two bytes, in lower case, that a word begins with.
	pairs [1 << 16 / 64]uint64
}

type word struct {
	text string // in lower case
	rank int
}

// NewWords makes a set of lists of words; words must be in lower case and
// have two bytes at least. Find gives the index of a list.
func NewWords(lists ...[]string) *Words {
	w := new(Words)
	for rank, list := range lists {
		for _, text := range list {
			w.by[text[0]] = append(w.by[text[0]], word{text, rank})
			pair := uint16(text[0])<<8 | uint16(text[1])
			w.pairs[pair/64] |= 1 << (pair % 64)
		}
	}
	return w
}

// Find is the first list of which a word is in the text, -1 if none is.
func (w *Words) Find(text string) int {
	found := -1
	for i := range len(text) - 1 {
		pair := uint16(lower(text[i]))<<8 | uint16(lower(text[i+1]))
		if w.pairs[pair/64]&(1<<(pair%64)) == 0 {
			continue
		}
		for _, word := range w.by[pair>>8] {
			if (found < 0 || word.rank < found) && hasPrefix(text[i:], word.text) {
				found = word.rank
			}
		}
	}
	return found
}

// In says whether any word is in the text.
func (w *Words) In(text string) bool { return w.Find(text) >= 0 }

func hasPrefix(text, lowerPrefix string) bool {
	if len(text) < len(lowerPrefix) {
		return false
	}
	for i := range len(lowerPrefix) {
		if lower(text[i]) != lowerPrefix[i] {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}
