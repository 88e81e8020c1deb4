package blame

import (
	"strconv"
	"unsafe"

	"github.com/whosehop/whosehop/verdict"
)

// texts is the memory that verdicts' words are written to, so that a verdict costs few allocations: a
// string is a view into a chunk that is never written again where it is.
type texts struct {
	bytes      []byte
	lists      []string
	candidates []verdict.Candidate
}

const (
	chunkBytes      = 32 << 10
	chunkLists      = 512
	chunkCandidates = 64
)

// since is what was written from a place on.
func (t *texts) since(from int) string {
	if from == len(t.bytes) {
		return ""
	}
	return unsafe.String(&t.bytes[from], len(t.bytes)-from)
}

// room makes sure that a usual text fits into the chunk.
func (t *texts) room(most int) int {
	if cap(t.bytes)-len(t.bytes) < most {
		t.bytes = make([]byte, 0, max(chunkBytes, most))
	}
	return len(t.bytes)
}

// own makes a string independent of the block that it points into.
func (t *texts) own(s string) string {
	from := t.room(len(s))
	t.bytes = append(t.bytes, s...)
	return t.since(from)
}

// took is a duration as people say it.
func (t *texts) took(ns int64) string {
	from := t.room(32)
	t.bytes = verdict.AppendTook(t.bytes, ns)
	return t.since(from)
}

const hexDigits = "0123456789abcdef"

// hex is an id in hexadecimal digits.
func (t *texts) hex(id []byte) string {
	from := t.room(2 * len(id))
	for _, b := range id {
		t.bytes = append(t.bytes, hexDigits[b>>4], hexDigits[b&15])
	}
	return t.since(from)
}

// sprintf knows %s, %d, %q, %.Nf and %.Ng, and is otherwise like the one of fmt.
func (t *texts) sprintf(format string, args ...any) string {
	const usual = 1024
	from := t.room(usual)
	arg := 0
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			t.bytes = append(t.bytes, format[i])
			continue
		}
		i++
		digits := -1
		if format[i] == '.' {
			digits = int(format[i+1] - '0')
			i += 2
		}
		if format[i] == '%' {
			t.bytes = append(t.bytes, '%')
			continue
		}
		switch v := args[arg].(type) {
		case string:
			if format[i] == 'q' {
				t.bytes = strconv.AppendQuote(t.bytes, v)
			} else {
				t.bytes = append(t.bytes, v...)
			}
		case int:
			t.bytes = strconv.AppendInt(t.bytes, int64(v), 10)
		case float64:
			t.bytes = strconv.AppendFloat(t.bytes, v, format[i], digits, 64)
		case int32:
			t.bytes = strconv.AppendInt(t.bytes, int64(v), 10)
		case verdict.Class:
			t.bytes = append(t.bytes, v...)
		default:
			panic("blame: sprintf knows no such argument in " + format)
		}
		arg++
	}
	return t.since(from)
}

// lines is a list of strings.
func (t *texts) lines(lines ...string) []string {
	from := t.roomForLines(len(lines))
	t.lists = append(t.lists, lines...)
	return t.lists[from:len(t.lists):len(t.lists)]
}

func (t *texts) roomForLines(n int) int {
	if cap(t.lists)-len(t.lists) < n {
		t.lists = make([]string, 0, max(chunkLists, n))
	}
	return len(t.lists)
}

func (t *texts) candidate(site verdict.Site, confidence float64) *verdict.Candidate {
	if len(t.candidates) == cap(t.candidates) {
		t.candidates = make([]verdict.Candidate, 0, chunkCandidates)
	}
	t.candidates = append(t.candidates, verdict.Candidate{Site: site, Confidence: confidence})
	return &t.candidates[len(t.candidates)-1]
}
