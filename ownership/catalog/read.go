package catalog

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// What bounds the reading of a tree.
const (
	entriesMax = 1_000_000 // files and folders of all paths
	foldersMax = 64        // one in another
	recordsMax = 500_000   // of all files
)

// Options say how sources are read.
type Options struct {
	// Labels of Kubernetes manifests that name an owner; nil is those that are usual.
	Labels []string
	// Looked is told each file that was opened, and whether it is of a known format. It may be nil.
	Looked func(file string, known bool)
}

// What ends the reading.
var (
	errTooMany        = fmt.Errorf("more than %d files and folders: name the folders that have catalogs", entriesMax)
	errTooManyRecords = fmt.Errorf("more than %d records: read fewer files at once", recordsMax)
)

// Read reads files, and in folders and those below them all files that a reader knows, by their name or, for YAML, by what
// each document of them says. An error is a path that cannot be read; what is wrong within a file is a problem. What is no
// catalog is passed over in a folder, and is a problem when it is named itself.
//
// Records are in the order of their files and lines. The files of a source are named as they were given, a folder's by the
// folder and the way from there.
func Read(paths []string, o Options) ([]Record, []Problem, error) {
	r := newReading(o)
	for _, name := range paths {
		if err := r.path(name); err != nil {
			return nil, nil, fmt.Errorf("read %s: %w", name, err)
		}
	}
	records, problems := r.result()
	return records, problems, nil
}

func newReading(o Options) *reading {
	r := &reading{looked: o.Looked, recordsMax: recordsMax, seen: make(map[string]bool), repositories: make(map[string][]string)}
	if r.looked == nil {
		r.looked = func(string, bool) {}
	}
	r.manifests = newKubernetes(o.Labels)
	r.yaml = []yamlReader{
		isOwn: &ownReader{catalogFile: catalogFile{format: OwnFormat}}, isBackstage: newBackstage(), isDatadog: newDatadog(),
		isOpsLevel: newOpsLevel(), isCortex: newCortex(), isKubernetes: r.manifests,
	}
	return r
}

// result is what was read, in the order of files and lines.
func (r *reading) result() ([]Record, []Problem) {
	for _, reader := range r.yaml[1:] {
		records, problems := reader.records()
		for i := range records {
			if c := &records[i]; c.Kind == Path && c.Source.Format == "opslevel" {
				c.Repository = originOf(filepath.FromSlash(repositoryRoot(c.Source.File)))
			}
		}
		r.records, r.problems = append(r.records, records...), append(r.problems, problems...)
	}
	slices.SortStableFunc(r.records, func(a, b Record) int {
		return cmp.Or(strings.Compare(a.Source.File, b.Source.File), cmp.Compare(a.Source.Line, b.Source.Line))
	})
	slices.SortStableFunc(r.problems, func(a, b Problem) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	return r.records, r.problems
}

// What a file or a document is.
const (
	isUnknown = iota
	isOwn
	isBackstage
	isDatadog
	isOpsLevel
	isCortex
	isKubernetes
	isCodeOwners
	isSentry
)

// names are those of files that tell what they are.
var names = []struct {
	is   int
	name *regexp.Regexp
}{
	{isOwn, regexp.MustCompile(`^(?:.+\.)?owners\.ya?ml$`)},
	{isBackstage, regexp.MustCompile(`^catalog-info(?:[._-].*)?\.(?:ya?ml|json)$`)},
	{isDatadog, regexp.MustCompile(`^(?:service|entity)\.datadog\.(?:ya?ml|json)$`)},
	{isOpsLevel, regexp.MustCompile(`^opslevel\.ya?ml$`)},
	{isCortex, regexp.MustCompile(`^cortex(?:[._-].*)?\.ya?ml$`)},
	{isCodeOwners, regexp.MustCompile(`^CODEOWNERS$`)},
	{isSentry, regexp.MustCompile(`^(?:.+\.sentry|sentry-ownership.*)$`)},
}

// byName is what a file is by its name.
func byName(base string) int {
	for _, n := range names {
		if n.name.MatchString(base) {
			return n.is
		}
	}
	return isUnknown
}

func isYAML(base string) bool {
	return strings.HasSuffix(base, ".yaml") || strings.HasSuffix(base, ".yml")
}

// reading is a call of Read.
type reading struct {
	looked       func(string, bool)
	recordsMax   int
	yaml         []yamlReader // by what they read
	manifests    *kubernetesReader
	records      []Record
	problems     []Problem
	entries      int
	seen         map[string]bool     // files, by where they really are
	repositories map[string][]string // CODEOWNERS, by the root of their repository
}

func (r *reading) wrong(file string, line int, format string, args ...any) {
	r.problems = append(r.problems, Problem{file, line, fmt.Sprintf(format, args...)})
}

// path reads what was named.
func (r *reading) path(name string) error {
	info, err := os.Stat(name)
	if err != nil {
		return plainError(err)
	}
	if !info.IsDir() {
		return plainError(r.file(filepath.Clean(name), true))
	}
	real, err := filepath.EvalSymlinks(name)
	if err != nil {
		return plainError(err)
	}
	if err := r.tree(filepath.Clean(name), real); err != nil {
		return err
	}
	return r.codeOwners()
}

// plainError is an error without the name of the path, which those who get it say.
func plainError(err error) error {
	var of *fs.PathError
	if errors.As(err, &of) {
		return of.Err
	}
	return err
}

// folderToRead is one below those that were named.
type folderToRead struct {
	name  string
	depth int
}

// tree reads a folder and all below it. The real name is where it is without symbolic links.
func (r *reading) tree(root, real string) error {
	for todo := []folderToRead{{root, 0}}; len(todo) > 0; {
		dir := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		entries, err := os.ReadDir(dir.name)
		if err != nil {
			if dir.depth == 0 {
				return plainError(err)
			}
			r.wrong(filepath.ToSlash(dir.name), 0, "not read: %v", plainError(err))
			continue
		}
		if r.entries += len(entries); r.entries > entriesMax {
			return errTooMany
		}
		chart := slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == "Chart.yaml" })
		for _, e := range slices.Backward(entries) {
			if !e.IsDir() || skipped(e.Name()) || chart && e.Name() == "templates" { // manifests only when Helm has filled them in
				continue
			}
			name := filepath.Join(dir.name, e.Name())
			if dir.depth == foldersMax {
				r.wrong(filepath.ToSlash(name), 0, "not read: it is more than %d folders deep", foldersMax)
				continue
			}
			todo = append(todo, folderToRead{name, dir.depth + 1})
		}
		for _, e := range entries {
			if name := filepath.Join(dir.name, e.Name()); interesting(e.Name()) && r.within(e, name, real) {
				if err := r.file(name, false); errors.Is(err, errTooManyRecords) {
					return err
				} else if err != nil {
					r.wrong(filepath.ToSlash(name), 0, "not read: %v", plainError(err))
				}
			}
		}
	}
	return nil
}

// skipped says whether a folder has none of the company's own files. Kubernetes mounts files through a folder whose name
// begins with two dots.
func skipped(folder string) bool {
	switch folder {
	case ".git", ".hg", ".svn", "node_modules", "bower_components", "vendor", "third_party", ".terraform", ".venv", "venv", "__pycache__", "site-packages":
		return true
	}
	return strings.HasPrefix(folder, "..")
}

func interesting(base string) bool { return byName(base) != isUnknown || isYAML(base) }

// within says whether it is a file, or a symbolic link to one that is in the tree as well.
func (r *reading) within(e fs.DirEntry, name, root string) bool {
	if e.Type().IsRegular() {
		return true
	}
	if e.Type() != fs.ModeSymlink {
		return false
	}
	target, err := filepath.EvalSymlinks(name)
	if err != nil {
		return false
	}
	way, err := filepath.Rel(root, target)
	if err != nil || way == ".." || strings.HasPrefix(way, ".."+string(filepath.Separator)) {
		return false
	}
	info, err := os.Stat(target)
	return err == nil && info.Mode().IsRegular()
}

// file reads one, once. Named says that it is not one of a folder's.
func (r *reading) file(name string, named bool) error {
	real, err := filepath.EvalSymlinks(name)
	if err != nil {
		return err
	}
	if real, err = filepath.Abs(real); err != nil {
		return err
	}
	if r.seen[real] {
		return nil
	}
	r.seen[real] = true
	if is := byName(filepath.Base(name)); is == isCodeOwners && !named {
		root := repositoryRoot(filepath.ToSlash(name))
		r.repositories[root] = append(r.repositories[root], filepath.ToSlash(name))
		return nil
	}
	data, err := readFile(name)
	if err != nil {
		return err
	}
	return r.looking(name, data, named)
}

// looking reads what was in a file, and tells so.
func (r *reading) looking(name string, data []byte, named bool) error {
	file := strings.ToValidUTF8(filepath.ToSlash(name), "\ufffd")
	own := r.yaml[isOwn].(*ownReader)
	before := len(own.done)
	r.looked(file, r.read(file, data, named))
	for i := range own.done[before:] {
		if c := &own.done[before+i]; c.Source.File != file {
			c.By = file
		}
	}
	if r.tooMany() {
		return errTooManyRecords
	}
	return nil
}

func (r *reading) tooMany() bool {
	n := len(r.records)
	for _, reader := range r.yaml[1:] {
		n += reader.found()
	}
	return n > r.recordsMax
}

// readFile reads no more than one byte too much, whatever the file is.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name) //nolint:gosec // the user names it, or the folder it is in
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(io.LimitReader(f, fileBytesMax+1))
}

// read reads what is in a file, and says whether it is of a known format.
func (r *reading) read(file string, data []byte, named bool) bool {
	is := byName(path.Base(file))
	if len(data) > fileBytesMax {
		r.wrong(file, 0, "more than %d bytes: split the file", fileBytesMax)
		return is != isUnknown
	}
	switch is {
	case isCodeOwners:
		records, problems := CodeOwners(file, data)
		r.ofRepository(file, records)
		r.problems = append(r.problems, problems...)
		return true
	case isSentry:
		records, problems := Sentry(file, data)
		r.ofRepository(file, records)
		r.problems = append(r.problems, problems...)
		return true
	}
	return r.documents(file, data, is, named)
}

// documents reads each document of a file with the reader for what it is.
func (r *reading) documents(file string, data []byte, is int, named bool) bool {
	for _, reader := range r.yaml[1:] {
		reader.begin(file)
	}
	known := is != isUnknown
	var broken, others []Problem
	for p := range parts(file, data) {
		root, wrong := p.root, p.problems
		if root == nil {
			broken = append(broken, wrong...)
			known = known || marked(p.text)
			continue
		}
		format := formatOf(root)
		if format == isUnknown && fallsBack(is, root, named) {
			format = is
		}
		if format == isUnknown && named && hasOwnList(root) {
			format = isOwn
		}
		if format == isUnknown {
			others = append(others, Problem{file, root.Line, noCatalog})
			continue
		}
		known = true
		before := len(r.manifests.done)
		r.yaml[format].document(root)
		if format != isKubernetes || len(r.manifests.done) > before { // most manifests say nothing of owners
			r.problems = append(r.problems, wrong...)
		}
		if r.tooMany() {
			break
		}
	}
	for _, reader := range r.yaml[1:] {
		r.problems = append(r.problems, reader.end()...)
	}
	text := isYAML(file) || strings.HasSuffix(file, ".json")
	switch {
	case known || named && text && len(broken) > 0:
		r.problems = append(r.problems, broken...)
	case !named:
	case len(others) > 0:
		r.problems = append(r.problems, others[0])
	case len(broken) > 0:
		r.wrong(file, 0, noCatalog)
	default:
		r.wrong(file, 0, "nothing is in it")
	}
	return known
}

const noCatalog = "not read: it is no catalog of a known format (the registry's own, Backstage, Datadog, OpsLevel, Cortex, Kubernetes; CODEOWNERS and Sentry's rules by the file's name)"

// fallsBack says whether a document that does not say what it is, is what the file's name says, so that its reader says what
// is wrong with it. Another program called Cortex has files of that name.
func fallsBack(is int, root *yaml.Node, named bool) bool {
	return is != isCortex || named || at(root, "openapi") != nil
}

// formatOf is what a document is by what it says.
func formatOf(root *yaml.Node) int {
	n := root
	if root.Kind == yaml.SequenceNode && len(root.Content) > 0 {
		n = root.Content[0]
	}
	if n.Kind != yaml.MappingNode {
		return isUnknown
	}
	version := text(n, "apiVersion")
	switch {
	case strings.HasPrefix(version, "backstage.io/"):
		return isBackstage
	case version == "v3" && at(n, "kind") != nil && at(n, "metadata") != nil,
		at(n, "schema-version") != nil && at(n, "dd-service") != nil:
		return isDatadog
	case version != "":
		if isManifest(root) {
			return isKubernetes
		}
	case isCortexInfo(n):
		return isCortex
	case isOpsLevelFile(n):
		return isOpsLevel
	case isOwnFile(root):
		return isOwn
	}
	return isUnknown
}

func isCortexInfo(n *yaml.Node) bool {
	if at(n, "openapi") == nil {
		return false
	}
	for key := range fieldsOf(at(n, "info")) {
		if strings.HasPrefix(key.Value, "x-cortex-") {
			return true
		}
	}
	return false
}

func isOpsLevelFile(n *yaml.Node) bool {
	if text(n, "version") != "1" {
		return false
	}
	for _, key := range []string{"service", "component", "repository", "team"} {
		for _, item := range items(n, key) {
			if at(item, "owner") != nil || at(item, "tier") != nil || at(item, "name") != nil {
				return true
			}
		}
	}
	return false
}

// hasOwnList says whether a document has anything of the registry's own format.
func hasOwnList(root *yaml.Node) bool {
	for key, list := range fieldsOf(root) {
		if _, known := ownKind(key.Value); known && list.Kind == yaml.SequenceNode {
			return true
		}
	}
	return false
}

// ofRepository adds records of paths, with the repository that they are of where its clone tells.
func (r *reading) ofRepository(file string, records []Record) {
	if len(records) == 0 {
		return
	}
	origin := originOf(filepath.FromSlash(repositoryRoot(file)))
	for i := range records {
		records[i].Repository = origin
	}
	r.records = append(r.records, records...)
}

// codeOwners reads those that were found: of a repository's one, as its forge does, and none of a folder in a repository
// that has one.
func (r *reading) codeOwners() error {
	for root, files := range r.repositories {
		if r.inRepository(root) {
			continue
		}
		slices.SortFunc(files, func(a, b string) int { return cmp.Compare(codeOwnersRank(a), codeOwnersRank(b)) })
		file := files[0] // the others are legal, and say nothing
		data, err := readFile(filepath.FromSlash(file))
		if err != nil {
			r.wrong(file, 0, "not read: %v", plainError(err))
			continue
		}
		if err := r.looking(file, data, false); err != nil {
			return err
		}
	}
	clear(r.repositories)
	return nil
}

// inRepository says whether a folder is no repository of its own, but in one that has a CODEOWNERS.
func (r *reading) inRepository(root string) bool {
	if _, err := os.Lstat(filepath.Join(filepath.FromSlash(root), ".git")); err == nil {
		return false
	}
	for above := path.Dir(root); above != root; root, above = above, path.Dir(above) {
		if _, ok := r.repositories[above]; ok {
			return true
		}
	}
	return false
}

// codeOwnersRank orders the places where forges look for the file: GitHub in .github, the root, docs; GitLab in the root,
// docs, .gitlab.
func codeOwnersRank(file string) int {
	switch path.Base(path.Dir(file)) {
	case ".github":
		return 0
	case "docs":
		return 2
	case ".gitlab":
		return 3
	}
	return 1
}
