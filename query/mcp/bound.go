package mcp

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
)

// What a model reads takes room that it needs for thinking.
const (
	textBytesMax   = 8 << 10
	answerBytesMax = 24 << 10
	wordRunesMax   = 400 // of one text within an answer
	listMost       = 50
)

// bound gives an answer that takes no more than answerBytesMax, and the same as JSON: texts are cut and cleaned, and lists
// shortened as far as is needed, which "shortened" then says.
func bound[Answer any](answer *Answer) (*Answer, map[string]any, error) {
	text, err := json.Marshal(answer)
	if err != nil {
		return nil, nil, fmt.Errorf("encode an answer: %w", err)
	}
	for most := listMost; ; most /= 2 {
		var tree map[string]any
		in := json.NewDecoder(bytes.NewReader(text))
		in.UseNumber()
		if err := in.Decode(&tree); err != nil {
			return nil, nil, fmt.Errorf("encode an answer: %w", err)
		}
		cut := shorten(tree, most)
		if cut {
			tree["shortened"] = fmt.Sprintf("lists have their first %d elements at most; narrow the question for more", most)
		}
		short, err := json.Marshal(tree)
		if err != nil {
			return nil, nil, fmt.Errorf("encode an answer: %w", err)
		}
		if len(short) > answerBytesMax && most > 1 {
			continue
		}
		kept := new(Answer)
		if err := json.Unmarshal(short, kept); err != nil {
			return nil, nil, fmt.Errorf("encode an answer: %w", err)
		}
		return kept, tree, nil
	}
}

// shorten cuts the lists and texts below a value, which is an object or a list, and says whether a list was cut; a trend, which is
// a list of numbers, is left whole. Answers are as deep as their types, not as what is in them.
func shorten(value any, most int) (cut bool) {
	below := func(child any) any {
		switch child := child.(type) {
		case string:
			return clean(child)
		case []any:
			if _, trend := firstOf(child).(json.Number); len(child) > most && !trend {
				child, cut = child[:most], true
			}
			cut = shorten(child, most) || cut
			return child
		case map[string]any:
			cut = shorten(child, most) || cut
		}
		return child
	}
	switch value := value.(type) {
	case []any:
		for i := range value {
			value[i] = below(value[i])
		}
	case map[string]any:
		for key, child := range value {
			value[key] = below(child)
		}
	}
	return cut
}

func firstOf(list []any) any {
	if len(list) == 0 {
		return nil
	}
	return list[0]
}

// clean makes one line of a text, without what cannot be seen: others wrote it, and it is to look like what it is.
func clean(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r) || unicode.IsControl(r):
			return ' '
		case unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Co, r) || r == unicode.ReplacementChar:
			return -1
		}
		return r
	}, text)
	if runes := []rune(text); len(runes) > wordRunesMax {
		return string(runes[:wordRunesMax]) + "…"
	}
	return text
}

// boundText keeps the first lines.
func boundText(text string) string {
	if len(text) <= textBytesMax {
		return text
	}
	end := strings.LastIndexByte(text[:textBytesMax], '\n') + 1
	return text[:end] + fmt.Sprintf("… and %d more lines; narrow the question for them\n", strings.Count(text[end:], "\n"))
}
