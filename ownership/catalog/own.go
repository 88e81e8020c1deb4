package catalog

// OwnFormat is the format of the registry's own files.
const OwnFormat = "whosehop"

// Own reads a file of the registry's own format.
func Own(file string, data []byte) (records []Record, problems []Problem) {
	f := catalogFile{format: OwnFormat, name: file}
	for _, n := range f.definitions(data) {
		for _, s := range f.list(n, "services") {
			r := f.record(s, Service, f.text(s, "name"))
			if r == nil {
				continue
			}
			r.Namespace, r.Owner = f.text(s, "namespace"), f.text(s, "owner")
			records = append(records, *r)
		}
	}
	return records, f.problems
}
