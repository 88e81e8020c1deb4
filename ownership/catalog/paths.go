package catalog

import (
	"slices"
	"strings"
)

const (
	// pathBytesMax bounds what a lookup can cost: paths come with spans, and can be anything.
	pathBytesMax = 4096
	// sectionsMax is how many sections are kept apart. What comes after shares the last.
	sectionsMax = 256
	// agreement is how many folders a path must share with a rule to tell where in it the repository begins. One is too
	// few: /lib/ is in most repositories, and in /usr/lib as well.
	agreement = 2
)

// Paths tells who owns a source file, by the path records of one repository, or of one Sentry project. Patterns mean what
// they mean where they come from, and a later one wins:
//
//   - GitHub: as in .gitignore, without ! and [ ]. A slash at the start or in the middle anchors a pattern at the root,
//     else it holds at any depth. * and ? do not cross a slash, and ** does. What names a folder owns all in it, except
//     that a last segment * is files alone.
//   - GitLab: only a slash at the start anchors. GitLab itself wants a slash at the end before a line owns what is in a
//     folder. Authors of real files leave it out and mean the folder, so that here it is as with GitHub. Sections are looked
//     up each for itself; of their answers, an owner counts more than none, and then the later line: sections go from the
//     general to the special, and an optional one (^) says who knows the file no less than another. An exclusion (!pattern)
//     holds against all lines of its section.
//   - Sentry: path is a glob of the whole path in which * crosses slashes, and case does not count (ASCII); codeowners is
//     as with GitHub; module is such a glob of a stack frame's module.
//
// All may be asked at the same time.
type Paths struct {
	records  []Record
	sections []uint8 // of the records
	kept     int     // sections kept apart
	roots    []string
	files    folder // by path from the repository's root
	packages folder // by path from a source root, as in src/main/java
	globs    prefix // Sentry's
	modules  prefix
}

// NewPaths compiles the records that are paths, within the bounds that the readers hold, and keeps the slice. Roots are what
// paths may begin with before the repository's own folders, such as /home/ci/build/ or webpack:///.
func NewPaths(records []Record, roots ...string) *Paths {
	p := &Paths{
		records: records, sections: make([]uint8, len(records)), kept: 1,
		globs: prefix{separator: '/'}, modules: prefix{separator: '.'},
	}
	for _, root := range roots {
		p.roots = append(p.roots, strings.TrimSuffix(strings.ReplaceAll(root, `\`, "/"), "/")+"/")
	}
	b := builder{paths: p, globs: map[globKey]*folder{}}
	names := map[string]uint8{"": 0}
	for i := range records {
		r := &records[i]
		if r.Kind != Path || boundPattern(r.Pattern) != nil {
			continue
		}
		pattern, rank := r.Pattern, int32(i)+1
		switch r.Source.Format {
		case sentryOwners:
			kind, glob, _ := strings.Cut(pattern, ":")
			switch kind {
			case "path":
				p.globs.add(glob, rank)
				continue
			case "module":
				p.modules.add(glob, rank)
				continue
			case "codeowners":
				pattern = glob
			default:
				continue
			}
		case gitLabOwners:
			p.sections[i] = p.section(r, names)
			if excluded, ok := strings.CutPrefix(pattern, "!"); ok {
				pattern, rank = excluded, rank+int32(len(records))
			}
		}
		c := compile(pattern, r.Source.Format == gitLabOwners)
		if !c.ends && !c.below {
			continue
		}
		b.add(&p.files, c, rank)
		if c = c.belowSourceRoot(); len(c.segments) > 0 {
			b.add(&p.packages, c, rank)
		}
	}
	return p
}

// section numbers the record's section. Without one, it is 0.
func (p *Paths) section(r *Record, names map[string]uint8) uint8 {
	var name string
	for _, l := range r.Links {
		if l.Name == "section" {
			name = strings.ToLower(l.Target) // GitLab joins sections whose names differ in case
		}
	}
	s, ok := names[name]
	if !ok {
		p.kept = min(p.kept+1, sectionsMax)
		s = uint8(p.kept - 1)
		names[name] = s
	}
	return s
}

// Owner is the record that decides who owns the file. One without an owner says that nobody does; without a record, no
// line speaks of it.
//
// A path from the repository's root, or below one of the roots, is taken as it is. Any other absolute path was built
// elsewhere, and the repository begins where at least two of its folders (or a folder and the file) follow a rule, and the
// longest such place is the only one: /home/ci/repo/src/pay/charge.go is /src/pay/charge.go if a rule begins with
// /src/pay/. Where that does not tell, there is no answer, not even by a rule such as *.go: the file may be a library's.
//
// Lines count that hold at the time, in Unix nanoseconds.
func (p *Paths) Owner(path string, atNs int64) (*Record, bool) {
	if path == "" || len(path) > pathBytesMax {
		return nil, false
	}
	won := ranks{atNs: atNs}
	p.globs.match(p, path, &won)
	if file, ok := p.inRepository(path); ok {
		p.match(&p.files, file, &won)
		if len(file) < len(path) {
			p.globs.match(p, file, &won)
		}
	}
	return p.winner(&won)
}

// inRepository cuts from the path what is before the repository's root.
func (p *Paths) inRepository(path string) (string, bool) {
	rooted := false
	for _, root := range p.roots {
		if hasRoot(path, root) {
			path, rooted = path[len(root):], true
			break
		}
	}
	if i := strings.Index(path, "://"); i >= 0 {
		path = path[i+3:]
		if slash := strings.IndexByte(path, '/'); slash >= 0 {
			path = path[slash:] // after the host, which may be none
		}
		if strings.HasPrefix(path, "/./") {
			path = path[1:] // webpack:///./src is the repository's
		}
	}
	for strings.HasPrefix(path, "./") || strings.HasPrefix(path, `.\`) {
		path = path[2:]
	}
	if path == "" {
		return "", false
	}
	library := libraryIn(path)
	absolute := !rooted && (isSlash(path[0]) || strings.HasPrefix(path, "..") || len(path) > 1 && path[1] == ':')
	if !absolute && library == len(path) {
		return path, true
	}
	return p.longestAgreement(path, library)
}

// libraryIn is where the path enters a folder of libraries, which have folders such as src and lib of their own, and the
// path's length if it does not.
func libraryIn(path string) int {
	at := len(path)
	for _, folder := range [...]string{"node_modules", "site-packages", "dist-packages", "pkg/mod"} {
		i := strings.Index(path, folder)
		end := i + len(folder)
		if i >= 0 && (i == 0 || isSlash(path[i-1])) && end < len(path) && isSlash(path[end]) {
			at = min(at, i)
		}
	}
	return at
}

func hasRoot(path, root string) bool {
	if len(path) <= len(root) {
		return false
	}
	for i := range len(root) {
		if c := path[i]; c != root[i] && (root[i] != '/' || c != '\\') {
			return false
		}
	}
	return true
}

// longestAgreement is the end of the path that follows literal folders of the rules furthest, if only one does, and begins
// before the limit.
func (p *Paths) longestAgreement(path string, limit int) (string, bool) {
	_, start, only := p.agree(path, limit)
	return path[start:], only
}

// agreement is how many folders of the path follow literal ones of the rules, at the place where most do.
func (p *Paths) agreement(path string) int {
	n, _, _ := p.agree(path, libraryIn(path))
	return n
}

func (p *Paths) agree(path string, limit int) (best, start int, only bool) {
	best = agreement - 1
	for at := 0; at <= limit && at < len(path); _, at = cutSegment(path, at) {
		n := p.files.agrees(path[at:])
		if p.files.deep != nil {
			n = max(n, p.files.deep.agrees(path[at:]))
		}
		switch {
		case n > best:
			best, start, only = n, at, true
		case n == best:
			only = false
		}
	}
	return best, start, only
}

// ranks are the best line of each section at a time: one more than its record's index, and above all indexes that of an
// exclusion.
type ranks struct {
	of   [sectionsMax]int32
	atNs int64
}

func (p *Paths) winner(won *ranks) (*Record, bool) {
	best, owned := -1, false
	for _, rank := range won.of[:p.kept] {
		if rank == 0 {
			continue
		}
		i := p.record(rank)
		owns := p.records[i].Owner != ""
		if best < 0 || owns && !owned || owns == owned && i > best {
			best, owned = i, owns
		}
	}
	if best < 0 {
		return nil, false
	}
	return &p.records[best], true
}

// folder is a place in the tree of all patterns: what the segments to here have matched. The tree is walked as an automaton,
// all places at once, so that the time depends on a path's segments and on the patterns that share their folders, and
// not on how many patterns there are.
type folder struct {
	literal map[string]*folder
	globs   map[string][]globbed // by the extension that their end fixes
	others  []globbed            // whose end does not fix it
	deep    *folder              // after **, which is any number of segments
	isDeep  bool
	ends    []int32 // lines whose file is this one
	below   []int32 // lines that own what is in here
}

type globbed struct {
	glob string
	to   *folder
}

type builder struct {
	paths *Paths
	globs map[globKey]*folder
}

type globKey struct {
	in   *folder
	glob string
}

// compiled is a pattern: its segments, ** among them, and whether it takes the file that they lead to and what is in it.
// One that holds at any depth begins with **.
type compiled struct {
	segments    []string
	ends, below bool
}

func compile(pattern string, gitLab bool) compiled {
	body, slash := strings.CutSuffix(pattern, "/")
	if body == "" { // "/" is a folder to GitLab, and nothing to GitHub
		return compiled{below: gitLab && slash}
	}
	var c compiled
	if !strings.HasPrefix(body, "/") && (gitLab || !strings.Contains(body, "/")) {
		c.segments = append(c.segments, "**")
	}
	for segment := range strings.SplitSeq(body, "/") {
		if segment != "" {
			c.segments = append(c.segments, segment)
		}
	}
	end := len(c.segments) - 1
	if end < 0 {
		return c
	}
	if c.segments[end] == "**" && slash {
		c.segments[end] = "*" // a folder at least
	}
	switch c.segments[end] {
	case "**":
		c.below = true
	case "*":
		c.ends, c.below = !slash, slash
		if c.ends && end > 0 && c.segments[end-1] == "**" { // all that is in the folder before
			c.segments, c.ends, c.below = c.segments[:end], false, true
		}
	default:
		c.ends, c.below = !slash, true
	}
	if c.below {
		for n := len(c.segments); n > 0 && c.segments[n-1] == "**"; n-- {
			c.segments = c.segments[:n-1]
		}
	}
	return c
}

// belowSourceRoot is the pattern as it is for what lies below a source root, src or src/main/java: there, folders are
// packages.
func (c compiled) belowSourceRoot() compiled {
	for i, segment := range c.segments {
		if segment == "**" || isGlob(segment) {
			break
		}
		if segment != "src" {
			continue
		}
		from := i + 1
		if i+2 < len(c.segments) {
			switch c.segments[i+2] {
			case "java", "kotlin", "scala", "groovy":
				from = i + 3
			}
		}
		c.segments = c.segments[from:]
		break
	}
	return c
}

// add makes the places that the pattern leads through, and marks the last with the line's rank.
func (b *builder) add(in *folder, c compiled, rank int32) {
	for _, segment := range c.segments {
		switch {
		case segment == "**":
			if !in.isDeep {
				if in.deep == nil {
					in.deep = &folder{isDeep: true}
				}
				in = in.deep
			}
		case isGlob(segment):
			segment = strings.ReplaceAll(segment, "[", `\[`) // no characters to choose from, as in Sentry's
			key := globKey{in, segment}
			to := b.globs[key]
			if to == nil {
				to = &folder{}
				b.globs[key] = to
				if ext := globExt(segment); ext == "" {
					in.others = append(in.others, globbed{segment, to})
				} else {
					if in.globs == nil {
						in.globs = map[string][]globbed{}
					}
					in.globs[ext] = append(in.globs[ext], globbed{segment, to})
				}
			}
			in = to
		default:
			segment = unescape(segment)
			to := in.literal[segment]
			if to == nil {
				to = &folder{}
				if in.literal == nil {
					in.literal = map[string]*folder{}
				}
				in.literal[segment] = to
			}
			in = to
		}
	}
	if c.ends {
		in.ends = b.paths.keep(in.ends, rank)
	}
	if c.below {
		in.below = b.paths.keep(in.below, rank)
	}
}

// keep adds a line to those of the same place, of which the best of a section is enough, of those that hold at the same time.
func (p *Paths) keep(lines []int32, rank int32) []int32 {
	for i, r := range lines {
		if p.sectionOf(r) == p.sectionOf(rank) && p.sameTime(r, rank) {
			lines[i] = max(r, rank)
			return lines
		}
	}
	return append(lines, rank)
}

func (p *Paths) sameTime(a, b int32) bool {
	x, y := &p.records[p.record(a)], &p.records[p.record(b)]
	return x.From.Equal(y.From) && x.Until.Equal(y.Until)
}

func (p *Paths) holds(rank int32, atNs int64) bool { return p.records[p.record(rank)].HoldsAt(atNs) }

func (p *Paths) sectionOf(rank int32) uint8 { return p.sections[p.record(rank)] }

// record is the index of the rank's record.
func (p *Paths) record(rank int32) int {
	i := int(rank) - 1
	if i >= len(p.records) {
		i -= len(p.records)
	}
	return i
}

// match walks all places that the path leads to, and keeps the best lines there.
func (p *Paths) match(tree *folder, path string, won *ranks) {
	var these, those [32]*folder // more go to the heap, which patterns of real files do not need
	now, next := tree.enter(these[:0]), those[:0]
	for at := 0; ; {
		var segment string
		if segment, at = cutSegment(path, at); segment == "" {
			break
		}
		ext := pathExt(segment)
		for _, f := range now {
			p.take(f.below, won)
			if f.isDeep {
				next = f.enter(next)
			}
			if to := f.literal[segment]; to != nil {
				next = to.enter(next)
			}
			if ext != "" {
				next = enterGlobs(f.globs[ext], segment, next)
			}
			next = enterGlobs(f.others, segment, next)
		}
		now, next = next, now[:0]
	}
	for _, f := range now {
		p.take(f.ends, won)
	}
}

// enter adds the place to those that the path leads to.
func (f *folder) enter(places []*folder) []*folder {
	if f.isDeep && slices.Contains(places, f) {
		return places
	}
	places = append(places, f)
	if f.deep != nil {
		places = f.deep.enter(places)
	}
	return places
}

func enterGlobs(globs []globbed, segment string, places []*folder) []*folder {
	for _, g := range globs {
		if matches(g.glob, segment) {
			places = g.to.enter(places)
		}
	}
	return places
}

func (p *Paths) take(lines []int32, won *ranks) {
	for _, rank := range lines {
		if s := p.sectionOf(rank); rank > won.of[s] && p.holds(rank, won.atNs) {
			won.of[s] = rank
		}
	}
}

// agrees is how many of the path's first segments follow literal ones from here.
func (f *folder) agrees(path string) (n int) {
	for at := 0; ; n++ {
		var segment string
		segment, at = cutSegment(path, at)
		if f = f.literal[segment]; f == nil || segment == "" {
			return n
		}
	}
}

// cutSegment is the first segment of the path from there, and where it ends.
func cutSegment(path string, at int) (string, int) {
	for at < len(path) && isSlash(path[at]) {
		at++
	}
	start := at
	for at < len(path) && !isSlash(path[at]) {
		at++
	}
	return path[start:at], at
}

// isSlash takes those of Windows for slashes as well.
func isSlash(c byte) bool { return c == '/' || c == '\\' }
