package catalog

import "strings"

// Frame is Owner for one line of a stack trace, of Java, Python, Go or JavaScript, or for a module such as
// com.acme.pay.Charge. A module's file is looked up below the source roots that rules name: /src/main/java/com/acme/ owns
// com.acme. As with other paths that begin elsewhere, two folders must agree. A function of Go tells nothing: the line
// after it has the file.
func (p *Paths) Frame(line string, atNs int64) (*Record, bool) {
	if len(line) > pathBytesMax {
		return nil, false
	}
	f := parseFrame(line)
	if f.path != "" {
		return p.Owner(f.path, atNs)
	}
	won := ranks{atNs: atNs}
	p.modules.match(p, f.module, &won)
	if file := f.sourceFile(); p.packages.agrees(file) >= agreement {
		p.match(&p.packages, file, &won)
	}
	return p.winner(&won)
}

// frame is what a line of a stack trace says: a path, or a module and perhaps the name of its file.
type frame struct{ path, module, file string }

func parseFrame(line string) frame {
	s := strings.TrimPrefix(strings.TrimPrefix(strings.TrimSpace(line), "at "), "async ")
	if rest, ok := strings.CutPrefix(s, `File "`); ok { // Python: File "/app/pay/charge.py", line 12, in charge
		path, _, _ := strings.Cut(rest, `"`)
		return frame{path: path}
	}
	if open := strings.LastIndexByte(s, '('); open >= 0 && strings.HasSuffix(s, ")") {
		place, _ := cutPosition(s[open+1 : len(s)-1])
		if !isJava(place) {
			if strings.ContainsAny(place, `/\`) {
				return frame{path: place} // JavaScript: charge (/app/pay/charge.js:12:3)
			}
			return frame{}
		}
		method := s[strings.LastIndexByte(s[:open], '/')+1 : open] // after the loader and the Java module
		class, _ := cutLast(method, '.')
		if !strings.Contains(place, ".") {
			place = "" // Native Method, Unknown Source
		}
		return frame{module: class, file: place}
	}
	if i := strings.IndexByte(s, '@'); i >= 0 && (strings.HasPrefix(s[i+1:], "/") || strings.Contains(s[i+1:], "://")) {
		s = s[i+1:] // Firefox: charge@https://shop.example/pay/charge.js:12:3
	}
	s, _, _ = strings.Cut(s, " +0x") // Go: /go/src/pay/charge.go:12 +0x1d
	place, hasLine := cutPosition(s)
	if hasLine || strings.ContainsAny(place, `/\`) {
		return frame{path: place}
	}
	return frame{module: place}
}

// cutPosition cuts :line and :line:column.
func cutPosition(s string) (place string, ok bool) {
	for range 2 {
		before, number := cutLast(s, ':')
		if number == "" || strings.Trim(number, "0123456789") != "" {
			break
		}
		s, ok = before, true
	}
	return s, ok
}

// cutLast cuts at the last separator. Without one, all is before it.
func cutLast(s string, separator byte) (before, after string) {
	if i := strings.LastIndexByte(s, separator); i >= 0 {
		return s[:i], s[i+1:]
	}
	return s, ""
}

func isJava(place string) bool {
	switch pathExt(place) {
	case ".java", ".kt", ".scala", ".groovy":
		return !strings.Contains(place, "/")
	}
	return place == "Native Method" || place == "Unknown Source"
}

// sourceFile is the module's file below a source root: com/acme/pay/Charge.java.
func (f frame) sourceFile() string {
	module, _, _ := strings.Cut(f.module, "$") // the classes in a class
	if f.file == "" {
		return strings.ReplaceAll(module, ".", "/")
	}
	pkg, _ := cutLast(module, '.')
	return strings.ReplaceAll(pkg, ".", "/") + "/" + f.file
}
