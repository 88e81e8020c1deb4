package blame

import (
	"cmp"
	"encoding/binary"
	"strings"

	"github.com/whosehop/whosehop/verdict"
)

// fingerprint is the same for the same fault in other traces: made of what is wrong and where, of the
// topmost frame of the application's own code, and of the message without what varies; not of ids,
// durations, entries or versions.
func (t *trial) fingerprint(symptom verdict.Symptom, f *finding) string {
	frame, message := "", ""
	for _, i := range f.nodes {
		n := &t.f.Nodes[i]
		if n.Phantom() {
			continue
		}
		if text := cmp.Or(n.Facts.ExceptionMessage, n.Facts.StatusMessage); text != "" {
			message = text
		}
		if n.Facts.HasException() {
			if top := ownFrame(t.stackTrace(i)); top != "" {
				frame = top
			}
		}
	}
	h := fnv(fnvOffset)
	for _, part := range [...]string{
		string(symptom), f.rule, string(f.site.Kind), f.site.Service, f.site.Operation, f.site.Caller, f.site.Callee, string(f.site.Phase), f.site.Peer,
		string(f.class), f.errorType, frame,
	} {
		h.add(part)
		h.addByte(0)
	}
	h.addTemplate(message)
	var sum [8]byte
	binary.BigEndian.PutUint64(sum[:], uint64(h))
	return t.hex(sum[:])
}

// fnv is a hash under way: FNV-1a of 64 bits.
type fnv uint64

const fnvOffset = 14695981039346656037

func (h *fnv) addByte(c byte) { *h = (*h ^ fnv(c)) * 1099511628211 }

func (h *fnv) add(s string) {
	for i := range len(s) {
		h.addByte(s[i])
	}
}

// stackTrace is the stack trace of a node's last exception, as text.
func (t *trial) stackTrace(i int32) string {
	b := t.f.Block()
	from, to := b.EventRange(int(t.f.Nodes[i].Row))
	text := ""
	for e := from; e < to; e++ {
		if v, ok := b.Events.Attrs.Get(e, "exception.stacktrace"); ok && b.Events.TimeNs[e] == t.f.Nodes[i].Facts.ExceptionNs {
			text = max(text, string(v))
		}
	}
	return text
}

// framesMost bounds the lines of a stack trace that are looked at.
const framesMost = 64

// ownFrame is the first frame that is not of a language's own or a framework's code, without its line;
// empty if there is none.
func ownFrame(stack string) string {
	for range framesMost {
		line, rest, more := strings.Cut(stack, "\n")
		if frame := frameOf(strings.TrimSpace(line)); frame != "" && !isLibrary(frame) {
			return frame
		}
		if !more {
			return ""
		}
		stack = rest
	}
	return ""
}

// frameOf reads a line of a Java, JavaScript, Python, .NET or Go stack trace.
func frameOf(line string) string {
	switch {
	case strings.HasPrefix(line, "at "):
		line = line[3:]
		if at := strings.IndexAny(line, "( "); at > 0 {
			line = line[:at]
		}
		return line
	case strings.HasPrefix(line, "File \""):
		file, rest, _ := strings.Cut(line[6:], "\"")
		_, function, _ := strings.Cut(rest, " in ")
		return file + " " + function
	case strings.HasSuffix(line, ")") && strings.Contains(line, "/") && !strings.Contains(line, " "):
		return line[:strings.IndexByte(line, '(')]
	}
	return ""
}

func isLibrary(frame string) bool {
	for _, prefix := range [...]string{
		"java.", "javax.", "jakarta.", "sun.", "jdk.", "kotlin.", "scala.", "org.springframework.", "org.apache.", "org.hibernate.", "io.netty.", "com.zaxxer.",
		"io.grpc.", "reactor.", "okhttp3.", "feign.", "node:", "internal/", "System.", "Microsoft.", "runtime/", "net/http.", "google.golang.org/", "go.opentelemetry.io/",
	} {
		if strings.HasPrefix(frame, prefix) {
			return true
		}
	}
	return strings.Contains(frame, "node_modules/") || strings.Contains(frame, "site-packages/") || strings.Contains(frame, "/lib/python")
}

// addTemplate adds a message without what varies from one request to the next: numbers, ids, addresses,
// and what stands in quotes.
func (h *fnv) addTemplate(text string) {
	text = cut(text, templateMost)
	for len(text) > 0 {
		switch c := text[0]; {
		case c == '"' || c == '\'' || c == '`':
			h.addByte('?')
			text = text[1:]
			if end := strings.IndexByte(text, c); end >= 0 {
				text = text[end+1:]
			}
		case wordByte(c):
			end, digits := 0, false
			for end < len(text) && wordByte(text[end]) {
				digits = digits || digit(text[end])
				end++
			}
			if digits {
				h.addByte('#')
			} else {
				h.add(text[:end])
			}
			text = text[end:]
		default:
			h.addByte(c)
			text = text[1:]
		}
	}
}

// templateMost bounds how much of a message tells it apart.
const templateMost = 200

func wordByte(c byte) bool {
	return digit(c) || c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' || c == '-' || c >= 0x80
}
