package catalog

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// ofFiles are the records of files, each with its text; a line "origin URL" is what a clone tells of its repository.
func ofFiles(t *testing.T, files ...string) (records []Record) {
	t.Helper()
	for i := 0; i < len(files); i += 2 {
		text, origin := files[i+1], ""
		if first, rest, _ := strings.Cut(text, "\n"); strings.HasPrefix(first, "origin ") {
			text, origin = rest, strings.TrimPrefix(first, "origin ")
		}
		read := CodeOwners
		if strings.HasSuffix(files[i], ".sentry") {
			read = Sentry
		} else if strings.HasSuffix(files[i], ".yaml") {
			read = Own
		}
		some, problems := read(files[i], []byte(text))
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		for j := range some {
			some[j].Repository = origin
		}
		records = append(records, some...)
	}
	return records
}

func TestRepositories(t *testing.T) {
	many := ofFiles(t,
		"repos/shop/.github/CODEOWNERS", "origin https://github.com/acme/shop\n* @acme/shop\n/pay/api/ @acme/pay\n/src/main/java/com/acme/pay/ @acme/java\n/same/one/ @acme/both\n",
		"repos/stock/CODEOWNERS", "* @acme/stock\n/pay/api/ @acme/stock-pay\n/lib/count/deep/ @acme/count\n/same/one/ @acme/both\n",
		"repos/acme/web/docs/CODEOWNERS", "* @acme/web\n",
		"repos/old/web/CODEOWNERS", "* @acme/oldweb\n",
		"sentry/mobile.sentry", "path:app/*.kt #mobile\nmodule:com.acme.app.* #mobile\n",
		"owners.yaml", "paths: [{pattern: '*.sql', owner: dba}, {pattern: /pay/api/x.go, owner: everywhere}]\n",
	)
	one := ofFiles(t, "CODEOWNERS", "* @acme/one\n/pay/api/ @acme/pay\n")
	cloned := ofFiles(t, "CODEOWNERS", "origin https://git.example/acme/one\n* @acme/one\n/pay/api/ @acme/pay\n")
	for _, c := range []struct {
		name                   string
		records                []Record
		file, repository, want string
	}{
		{"by its address", many, "any.go", "https://github.com/acme/shop", "shop"},
		{"as git has it", many, "any.go", "git@github.com:acme/shop.git", "shop"},
		{"a folder in it", many, "any.go", "https://github.com/acme/shop/tree/main/pay", "shop"},
		{"without the host", many, "any.go", "acme/shop", "shop"},
		{"of another owner", many, "any.go", "https://github.com/other/shop", "-"},
		{"by its folder", many, "any.go", "https://github.com/acme/stock", "stock"},
		{"by two folders", many, "any.go", "https://github.com/acme/web", "web"},
		{"two folders of that name", many, "any.go", "https://github.com/new/web", "-"},
		{"not among them", many, "pay/api/y.go", "https://github.com/acme/other", "-"},
		{"not known, and any could be it", many, "any.go", "", "-"},
		{"not known, and two begin so", many, "/build/pay/api/y.go", "", "-"},
		{"not known, and both say the same", many, "/build/same/one/y.go", "", "both"},
		{"not known, and one begins so", many, "/build/lib/count/x.go", "", "stock"},
		{"the most folders", many, "/build/lib/count/deep/x.go", "", "count"},
		{"its address is in the path", many, "github.com/acme/shop/pay/api/y.go", "", "pay"},
		{"a version of it", many, "/go/pkg/mod/github.com/acme/shop@v1.2.3/pay/api/y.go", "https://github.com/acme/stock", "pay"},
		{"another address is in the path", many, "github.com/other/lib/pay/api/y.go", "https://github.com/acme/shop", "-"},
		{"no module of ours", many, "golang.org/x/net/http2.go", "https://github.com/acme/shop", "-"},
		{"of all repositories", many, "db/x.sql", "https://github.com/acme/shop", "dba"},
		{"of all, where none is known", many, "db/x.sql", "", "dba"},
		{"all count more, as their format does", many, "pay/api/x.go", "https://github.com/acme/shop", "everywhere"},
		{"sentry's project", many, "app/main.kt", "https://github.com/acme/mobile", "mobile"},
		{"alone", one, "any.go", "", "one"},
		{"alone, and by another name", one, "any.go", "https://github.com/acme/other", "one"},
		{"alone, and another by its address", cloned, "any.go", "https://github.com/acme/one", "-"},
		{"alone, and by its address", cloned, "any.go", "https://git.example/acme/one", "one"},
		{"alone, and its host is in the path", cloned, "git.example/acme/one/pay/api/x.go", "", "pay"},
		{"none", nil, "any.go", "", "-"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := owner(NewRepositories(c.records).Owner(c.file, c.repository, 0)); got != c.want {
				t.Errorf("%s of %q: %s, want %s", c.file, c.repository, got, c.want)
			}
		})
	}
	all := NewRepositories(many)
	for before, counts := range all.Repeated() {
		t.Errorf("%s and %s are of two repositories", before.Source, counts.Source)
	}
	for _, c := range []struct{ frame, repository, want string }{
		{"at com.acme.pay.Charge.run(Charge.java:12)", "", "java"},
		{"at com.acme.pay.Charge.run(Charge.java:12)", "https://github.com/acme/stock", "-"},
		{"at com.acme.app.Main.run(Main.java:1)", "", "mobile"},
		{"at com.acme.app.Main.run(Main.java:1)", "acme/shop", "-"},
		{"/build/lib/count/x.go:12 +0x1d", "", "stock"},
		{`File "/app/pay/api/x.py", line 12, in charge`, "acme/shop", "pay"},
	} {
		if got := owner(all.Frame(c.frame, c.repository, 0)); got != c.want {
			t.Errorf("%s of %q: %s, want %s", c.frame, c.repository, got, c.want)
		}
	}
}

// What is said of a whole repository counts by its format against another word on the whole, and never against a line that
// says more.
func TestWholeRepository(t *testing.T) {
	codeowners := ofFiles(t, "repos/a/CODEOWNERS", "/first/ @lost\n* @all\n*.go @go\n", "repos/b/CODEOWNERS", "* @b\n")
	whole := Record{Kind: Path, Pattern: "*", Owner: "whole", Source: Source{Format: "opslevel", File: "repos/a/opslevel.yml", Line: 2}}
	for _, c := range []struct {
		records      []Record
		other, twice string
	}{
		{append(slices.Clone(codeowners), whole), "whole", "all, whole"},
		{append([]Record{whole}, codeowners...), "all", "whole, all"},
	} {
		all := NewRepositories(c.records)
		for file, want := range map[string]string{"x.go": "go", "x.py": c.other, "first/x": c.other} {
			if got := owner(all.Owner(file, "acme/a", 0)); got != want {
				t.Errorf("%s: %s, want %s", file, got, want)
			}
		}
		var twice []string
		for before, counts := range all.Repeated() {
			twice = append(twice, before.Owner+", "+counts.Owner)
		}
		if len(twice) != 1 || twice[0] != c.twice {
			t.Errorf("repeated: %q, want %q", twice, c.twice)
		}
	}
}

func TestAddress(t *testing.T) {
	for url, want := range map[string]string{
		"": "", "https://GitHub.com/Acme/Shop.git": "github.com/acme/shop", "git@github.com:acme/shop.git": "github.com/acme/shop",
		"ssh://git@git.example:22/acme/shop": "git.example:22/acme/shop", "https://me:x@git.example/a/b/": "git.example/a/b",
		"https://gitlab.com/a/b/c/-/tree/main/x": "gitlab.com/a/b/c", "acme/shop": "acme/shop",
	} {
		if got := address(url); got != want {
			t.Errorf("%q: %q, want %q", url, got, want)
		}
	}
}

// Ten thousand repositories cost no more to ask than those whose rules begin as the path does.
func BenchmarkRepositories(b *testing.B) {
	var records []Record
	for i := range 10_000 {
		some, _ := CodeOwners(fmt.Sprintf("repos/r%d/CODEOWNERS", i), fmt.Appendf(nil, "* @acme/r%[1]d\n/svc%[1]d/api/ @acme/api%[1]d\n", i))
		records = append(records, some...)
	}
	all := NewRepositories(records)
	for _, c := range []struct{ name, repository, want string }{{"known", "https://git.example/acme/r77", "api77"}, {"by the path", "", "api77"}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if r, ok := all.Owner("/build/svc77/api/x.go", c.repository, 0); !ok || r.Owner != c.want {
					b.Fatal(r, ok)
				}
			}
		})
	}
}
