package blame

import (
	"fmt"
	"hash/fnv"
	"io"
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
		text := n.Facts.ExceptionMessage
		if text == "" {
			text = n.Facts.StatusMessage
		}
		if text != "" {
			message = template(text)
		}
		if top := ownFrame(t.stackTrace(i)); top != "" {
			frame = top
		}
	}
	h := fnv.New64a()
	for _, part := range [...]string{
		string(symptom), f.rule, string(f.site.Kind), f.site.Service, f.site.Operation, f.site.Caller, f.site.Callee, string(f.site.Phase), f.site.Peer,
		string(f.class), f.errorType, frame, message,
	} {
		_, _ = io.WriteString(h, part+"\x00") // which cannot fail
	}
	return fmt.Sprintf("%016x", h.Sum64())
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

// template is a message without what varies from one request to the next: numbers, ids, addresses, and
// what stands in quotes.
func template(text string) string {
	var b strings.Builder
	for len(text) > 0 && b.Len() < 200 {
		switch c := text[0]; {
		case c == '"' || c == '\'' || c == '`':
			if end := strings.IndexByte(text[1:], c); end >= 0 {
				b.WriteByte('?')
				text = text[end+2:]
				continue
			}
			b.WriteByte(c)
			text = text[1:]
		case wordByte(c):
			end, digits := 0, false
			for end < len(text) && wordByte(text[end]) {
				digits = digits || digit(text[end])
				end++
			}
			if digits {
				b.WriteByte('#')
			} else {
				b.WriteString(text[:end])
			}
			text = text[end:]
		default:
			b.WriteByte(c)
			text = text[1:]
		}
	}
	return b.String()
}

func wordByte(c byte) bool {
	return digit(c) || c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' || c == '-' || c >= 0x80
}
