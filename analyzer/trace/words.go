package trace

// Words finds words in texts, in whatever case: all of them in one pass.
type Words struct {
	// by holds the words by their first byte.
	by [256][]word
}

type word struct {
	text string // in lower case
	rank int
}

// NewWords makes a set of lists of words; words must be in lower case. Find gives the index of a list.
func NewWords(lists ...[]string) *Words {
	w := new(Words)
	for rank, list := range lists {
		for _, text := range list {
			w.by[text[0]] = append(w.by[text[0]], word{text, rank})
		}
	}
	return w
}

// Find is the first list of which a word is in the text, -1 if none is.
func (w *Words) Find(text string) int {
	found := -1
	for i := range len(text) {
		for _, word := range w.by[lower(text[i])] {
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
