package ownership

import (
	"testing"

	"github.com/whosehop/whosehop/ownership/catalog"
)

// The rules of a repository are about the code of services that are built from it, whoever else has a file of that name.
func TestRepositoryOfService(t *testing.T) {
	path := func(pattern, owner, file string) catalog.Record {
		return catalog.Record{Kind: catalog.Path, Pattern: pattern, Owner: owner, Source: catalog.Source{Format: "codeowners", File: file, Line: 1}}
	}
	service := catalog.Record{Kind: catalog.Service, Name: "till", Source: catalog.Source{Format: "backstage", File: "till/catalog-info.yaml", Line: 1}}
	service.Repository = "https://git.example/acme/till"
	r := Compile([]catalog.Record{
		service, path("*", "coin", "repos/till/CODEOWNERS"), path("*", "shelf", "repos/stock/CODEOWNERS"), path("/main/deep/", "deep", "repos/stock/CODEOWNERS"),
	}, Config{})
	url := func(value string) func(string) (string, bool) {
		return func(key string) (string, bool) { return value, key == "vcs.repository.url.full" && value != "" }
	}
	for _, c := range []struct {
		name string
		q    Question
		want string
	}{
		{"as a record of the service says", Question{Service: "till", CodePath: "main/deep/x.go"}, "coin"},
		{"as the span says", Question{Service: "till", CodePath: "main/deep/x.go", Attr: url("git@git.example:acme/stock.git")}, "deep"},
		{"the span does not know", Question{Service: "till", CodePath: "x.go", Attr: url("")}, "coin"},
		{"another repository", Question{Service: "till", CodePath: "x.go", Attr: url("https://git.example/acme/other")}, Unowned},
		{"a service of which nothing is known", Question{Service: "cron", CodePath: "x.go"}, Unowned},
		{"whose path tells", Question{Service: "cron", CodePath: "/build/main/deep/x.go"}, "deep"},
		{"a stack", Question{Service: "till", Stack: "goroutine 1\nmain.main()\n\t/x/y/z.go:1 +0x1d\nmain/deep/x.go:12"}, "coin"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := r.Resolve(&c.q); got.Owner != c.want {
				t.Errorf("got %+v, want %s", got, c.want)
			}
		})
	}
}

// Two files of one repository that differ about the same pattern are told, with the one that counts; two repositories never differ.
func TestPathConflicts(t *testing.T) {
	path := func(owner, format, file string) catalog.Record {
		return catalog.Record{Kind: catalog.Path, Pattern: "*", Owner: owner, Source: catalog.Source{Format: format, File: file, Line: 1}}
	}
	records := []catalog.Record{path("a", "codeowners", "x/CODEOWNERS"), path("b", "opslevel", "x/opslevel.yml"), path("c", "codeowners", "y/CODEOWNERS")}
	for _, c := range []struct{ precedence, want string }{
		{"opslevel", "code *: b by x/opslevel.yml:1, a by x/CODEOWNERS:1; the first counts"},
		{"codeowners", "code *: a by x/CODEOWNERS:1, b by x/opslevel.yml:1; the first counts"},
	} {
		conflicts := Compile(records, Config{Precedence: []string{c.precedence}}).Conflicts()
		if len(conflicts) != 1 || conflicts[0].String() != c.want {
			t.Errorf("%s first: %v, want %s", c.precedence, conflicts, c.want)
		}
	}
}
