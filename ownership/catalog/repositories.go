package catalog

import (
	"iter"
	"path"
	"slices"
	"strings"
)

// Repositories tells who owns a source file by the path records of many repositories, where the rules of one say nothing of
// another's files.
//
// Records belong together that have the same Repository, or, where they have none, whose files are in one repository:
// CODEOWNERS lie at its root, or in a folder there. Sentry's rules are of the project that the file is named after, or of
// the repository at whose root they lie. Paths of the registry's own files that have no Repository hold in all.
//
// With the repository asked for, its rules alone are asked; a repository whose address is not known is told by the name
// of its folder. Without it, or in a path that has the address itself, the path tells: by the address in it
// (github.com/acme/shop/pay.go), or by the folders that rules begin with, two at least. Where two repositories fit as
// well and their owners differ, nobody knows. One repository alone needs none of this: what is said means its files.
//
// All may be asked at the same time.
type Repositories struct {
	everywhere *Paths
	each       []*repository
	named      map[string][]*repository // by the last part of the name
	addressed  map[string]*repository   // by its address
	beginning  map[string][]*repository // by two folders that a rule begins with
	modules    []*repository            // that have rules for modules
	hosts      map[string]bool          // of paths that begin with an address
	later      map[string]int           // formats, by their order: what comes later counts
}

type repository struct {
	address string // such as github.com/acme/shop, or empty
	folder  string // or where it lies
	paths   *Paths
}

// NewRepositories compiles the records that are paths. Of two records that fit, the later counts.
func NewRepositories(records []Record) *Repositories {
	all := &Repositories{
		named: make(map[string][]*repository), addressed: make(map[string]*repository), beginning: make(map[string][]*repository),
		hosts: make(map[string]bool), later: make(map[string]int),
	}
	for _, host := range [...]string{"github.com", "gitlab.com", "bitbucket.org", "golang.org", "google.golang.org", "gopkg.in", "go.uber.org", "k8s.io", "go.opentelemetry.io"} {
		all.hosts[host] = true
	}
	var everywhere []Record
	of := make(map[repository][]Record)
	var order []repository
	for _, r := range records {
		if r.Kind != Path {
			continue
		}
		if _, known := all.later[r.Source.Format]; !known {
			all.later[r.Source.Format] = len(all.later)
		}
		if r.Source.Format == OwnFormat && r.Repository == "" {
			everywhere = append(everywhere, r)
			continue
		}
		key := repository{address: address(r.Repository)}
		if key.address == "" {
			key.folder = folderOf(&r)
		}
		if of[key] == nil {
			order = append(order, key)
		}
		of[key] = append(of[key], r)
	}
	all.everywhere = NewPaths(everywhere)
	for _, key := range order {
		all.add(&repository{address: key.address, folder: key.folder, paths: NewPaths(settled(of[key]))})
	}
	return all
}

// settled puts what is said of a repository as a whole behind the last line that says so too, and before all that say more.
func settled(records []Record) []Record {
	for i, r := range records {
		if r.Source.Format == "opslevel" {
			at := i
			for at > 0 && records[at-1].Pattern != "*" {
				at--
			}
			copy(records[at+1:i+1], records[at:i])
			records[at] = r
		}
	}
	return records
}

// Repeated are the pairs of records of one repository that have the same pattern and are in two files. The second counts.
func (all *Repositories) Repeated() iter.Seq2[*Record, *Record] {
	return func(yield func(before, counts *Record) bool) {
		for _, of := range all.each {
			last := make(map[string]*Record)
			for i := range of.paths.records {
				r := &of.paths.records[i]
				if before := last[r.Pattern]; before != nil && before.Source.File != r.Source.File && !yield(before, r) {
					return
				}
				last[r.Pattern] = r
			}
		}
	}
}

// folderOf is the folder of a repository, which stands for it.
func folderOf(r *Record) string {
	if project, ok := strings.CutSuffix(r.Source.File, ".sentry"); ok && path.Base(project) != "ownership" {
		return project
	}
	return repositoryRoot(r.Source.File)
}

func (all *Repositories) add(r *repository) {
	all.each = append(all.each, r)
	name := strings.ToLower(path.Base(r.folder))
	if r.address != "" {
		name = path.Base(r.address)
		all.addressed[r.address] = r
		host, _, _ := strings.Cut(r.address, "/")
		all.hosts[host] = true
	}
	all.named[name] = append(all.named[name], r)
	if r.paths.modules.next != nil || r.paths.modules.tails != nil {
		all.modules = append(all.modules, r)
	}
	for _, tree := range []*folder{&r.paths.files, r.paths.files.deep, &r.paths.packages} {
		if tree == nil {
			continue
		}
		for first, to := range tree.literal {
			for second := range to.literal {
				if key := first + "/" + second; !slices.Contains(all.beginning[key], r) {
					all.beginning[key] = append(all.beginning[key], r)
				}
			}
		}
	}
}

// address is that of a repository as it is compared: without scheme, user, .git and what is in the repository.
func address(url string) string {
	if url == "" {
		return ""
	}
	url = webAddress(url)
	if _, after, ok := strings.Cut(url, "://"); ok {
		url = after
	}
	for _, in := range [...]string{"/-/", "/tree/", "/blob/", "/src/", "?", "#"} {
		url, _, _ = strings.Cut(url, in)
	}
	url = strings.TrimSuffix(strings.Trim(url, "/"), ".git")
	return strings.ToLower(url[strings.IndexByte(url, '@')+1:])
}

// Owner is Paths.Owner. The repository is the address of the one that the file is of, empty where it is not known.
func (all *Repositories) Owner(file, repository string, atNs int64) (*Record, bool) {
	if file == "" || len(file) > pathBytesMax {
		return nil, false
	}
	r, ok := all.everywhere.Owner(file, atNs)
	if of, own := all.ofFile(file, repository, atNs); of != nil {
		if found, found2 := of.paths.Owner(own, atNs); found2 {
			return all.better(r, ok, found)
		}
	}
	return r, ok
}

// Frame is Paths.Frame.
func (all *Repositories) Frame(line, repository string, atNs int64) (*Record, bool) {
	if len(line) > pathBytesMax {
		return nil, false
	}
	f := parseFrame(line)
	if f.path != "" {
		return all.Owner(f.path, repository, atNs)
	}
	r, ok := all.everywhere.Frame(line, atNs)
	if found, found2 := all.ofModule(line, f, repository, atNs); found2 {
		return all.better(r, ok, found)
	}
	return r, ok
}

// better is the record of the format that counts more.
func (all *Repositories) better(everywhere *Record, ok bool, found *Record) (*Record, bool) {
	if ok && all.later[everywhere.Source.Format] > all.later[found.Source.Format] {
		return everywhere, true
	}
	return found, true
}

// ofFile is the repository that a file is of, and its path as that repository is asked.
func (all *Repositories) ofFile(file, want string, atNs int64) (*repository, string) {
	if len(all.each) == 0 {
		return nil, ""
	}
	if r, rest, ok := all.byAddress(file); ok {
		return r, rest
	}
	if r, known := all.wanted(want); known {
		return r, file
	}
	return all.byFolders(file, atNs), file
}

// wanted is the repository asked for, which may be none of these; known says that no other comes into question.
func (all *Repositories) wanted(want string) (r *repository, known bool) {
	want = address(want)
	alone := len(all.each) == 1
	switch {
	case want == "" && alone:
		return all.each[0], true
	case want == "":
		return nil, false
	}
	if r := all.addressed[want]; r != nil {
		return r, true
	}
	var nameless []*repository
	for _, r := range all.named[path.Base(want)] {
		switch {
		case r.address != "" && strings.HasSuffix(r.address, "/"+want): // asked for without the host
			return r, true
		case r.address != "":
		case strings.HasSuffix("/"+strings.ToLower(r.folder), "/"+path.Base(path.Dir(want))+"/"+path.Base(want)):
			return r, true
		default:
			nameless = append(nameless, r)
		}
	}
	if len(nameless) == 1 {
		return nameless[0], true
	}
	if alone && all.each[0].address == "" {
		return all.each[0], true
	}
	return nil, true
}

// byAddress finds an address in a path, such as those of Go's packages. A path that begins with one of a repository that is
// not among these is another's.
func (all *Repositories) byAddress(file string) (r *repository, rest string, found bool) {
	at := 0
	for range 16 { // hosts are not far from the beginning
		start := at
		var host string
		host, at = cutSegment(file, at)
		if host == "" {
			break
		}
		if strings.IndexByte(host, '.') <= 0 || !all.hosts[strings.ToLower(host)] {
			continue
		}
		const partsMost = 8 // of an address; a path can be anything
		first := strings.IndexByte(file[start:], host[0]) + start
		for n, end := 0, at; n < partsMost && end < len(file); n++ {
			_, end = cutSegment(file, end)
			address, _, _ := strings.Cut(strings.ToLower(strings.ReplaceAll(file[first:end], `\`, "/")), "@") // of a version
			if r := all.addressed[address]; r != nil && end < len(file) {
				return r, file[end+1:], true
			}
		}
		return nil, "", start == 0 && !isSlash(file[0])
	}
	return nil, "", false
}

// byFolders is the one repository whose rules begin with folders of the path, the most of them.
func (all *Repositories) byFolders(file string, atNs int64) *repository {
	return all.best(file, func(r *repository) (int, *Record, bool) {
		found, ok := r.paths.Owner(file, atNs)
		return r.paths.agreement(file), found, ok
	})
}

// askedMost is how many repositories are asked for one path: where more have the same folders, these do not tell them apart.
const askedMost = 64

// best asks the repositories of which a rule begins with two folders that are in the path.
func (all *Repositories) best(file string, ask func(*repository) (int, *Record, bool)) (best *repository) {
	most, owner, same := 0, "", true
	var asked []*repository
	before, at := cutSegment(file, 0)
	for before != "" {
		var segment string
		segment, at = cutSegment(file, at)
		for _, r := range all.beginning[before+"/"+segment] {
			if slices.Contains(asked, r) {
				continue
			}
			if len(asked) == askedMost {
				return nil
			}
			asked = append(asked, r)
			n, found, ok := ask(r)
			switch {
			case !ok || n < most:
			case n > most:
				most, owner, same, best = n, found.Owner, true, r
			default:
				same = same && found.Owner == owner
			}
		}
		before = segment
	}
	if !same {
		return nil
	}
	return best
}

// ofModule is the record for a frame that names a module.
func (all *Repositories) ofModule(line string, f frame, want string, atNs int64) (*Record, bool) {
	if len(all.each) == 0 || f.module == "" {
		return nil, false
	}
	if r, known := all.wanted(want); known {
		if r == nil {
			return nil, false
		}
		return r.paths.Frame(line, atNs)
	}
	file := f.sourceFile()
	r := all.best(file, func(r *repository) (int, *Record, bool) {
		found, ok := r.paths.Frame(line, atNs)
		return r.paths.packages.agrees(file), found, ok
	})
	if r != nil {
		return r.paths.Frame(line, atNs)
	}
	var one *Record
	for _, r := range all.modules {
		found, ok := r.paths.Frame(line, atNs)
		switch {
		case !ok:
		case one == nil:
			one = found
		case one.Owner != found.Owner:
			return nil, false
		}
	}
	return one, one != nil
}
