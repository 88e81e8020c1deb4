package catalog

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// told is a record in a line: its line, pattern and owners, and the links that are not the owners as written.
func told(r Record) string {
	words := []string{r.Pattern, "=", r.Owner}
	words = append(words, r.Owners...)
	for _, l := range r.Links {
		if l.Name != "owners" {
			words = append(words, l.Name+":"+l.Target)
		}
	}
	return strings.Join(words, " ")
}

func checkTold(t *testing.T, records []Record, problems []Problem, want, wantProblems []string) {
	t.Helper()
	var got []string
	for _, r := range records {
		got = append(got, told(r))
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	var reasons []string
	for _, p := range problems {
		reasons = append(reasons, p.Reason)
	}
	if !slices.Equal(reasons, wantProblems) {
		t.Errorf("got problems %q, want %q", reasons, wantProblems)
	}
}

func TestCodeOwners(t *testing.T) {
	for _, c := range []struct {
		name, file, text string
		want, problems   []string
	}{
		{
			name: "github", file: ".github/CODEOWNERS",
			text: "\ufeff# The shop\r\n\r\n*  @shop/everyone @ann\r\n  /pay/\tpay@shop.example # not @bob\r\n/free/\n/free2/ # @bob\n/a\\ b/ @shop/x\n\\#odd @shop/x\n/app/[id]/ @shop/web",
			want: []string{
				"* = everyone ann", "/pay/ = pay@shop.example", "/free/ = ", "/free2/ = ", `/a\ b/ = x`, `\#odd = x`, "/app/[id]/ = web",
			},
		},
		{
			name: "what GitHub skips", file: "CODEOWNERS",
			text: "/a/ shop/pay @ann\n/b/ @\n/c/ @ann\n/" + strings.Repeat("x", patternBytesMax) + " @ann\n/d/ @shop/\n" + strings.Repeat("**/", 40) + " @ann",
			want: []string{"/c/ = ann"},
			problems: []string{
				`"shop/pay" is neither a name with @ nor an email address`, `"@" is neither a name with @ nor an email address`,
				"the pattern is longer than 4096 bytes", `"@shop/" is neither a name with @ nor an email address`,
				"the pattern has more than 64 wildcards",
			},
		},
		{
			name: "an exclusion in GitHub's", file: ".github/CODEOWNERS", text: "* @ann\n!/gen/\n",
			want: []string{"* = ann"}, problems: []string{`GitHub knows no exclusion: write "/gen/" without owners`},
		},
		{
			name: "gitlab", file: "CODEOWNERS",
			text: `* @shop/core/everyone
[Docs][2] @shop/writers @ann
docs/
README.md @@developer bob@shop.example
!docs/gen/
^[Data Base]
db/ # once @dba's
*.sql nobody @shop/dba
[Docs] @bob
*.adoc
[]
[a].txt @x
[Review][many]
*.go @go
`,
			want: []string{
				"* = core/everyone",
				"docs/ = writers ann section:Docs approvals:2",
				"README.md = @@developer bob@shop.example section:Docs approvals:2",
				"!docs/gen/ =  section:Docs approvals:2",
				"db/ = dba's section:Data Base optional:true",
				"*.sql = dba section:Data Base optional:true",
				"*.adoc = bob section:Docs",
				"[a].txt = x section:Docs",
				"*.go = go section:Review",
			},
			problems: []string{
				`"nobody" is neither a name with @ nor an email address`, "a section needs a name", `"many" is no number of approvals`,
			},
		},
		{
			name: "a merge that was not finished", file: "CODEOWNERS", text: "<<<<<<< HEAD\n* @ann\n=======\n* @bob\n>>>>>>> other\n",
			want: []string{"* = ann", "* = bob"},
			problems: []string{
				`a mark of a merge that was not finished: "<<<<<<< HEAD"`, `a mark of a merge that was not finished: "======="`,
				`a mark of a merge that was not finished: ">>>>>>> other"`,
			},
		},
		{name: "nothing", file: "CODEOWNERS"},
		{name: "a backslash at the end", file: "CODEOWNERS", text: `/a\`, want: []string{`/a\ = `}},
	} {
		t.Run(c.name, func(t *testing.T) {
			records, problems := CodeOwners(c.file, []byte(c.text))
			checkTold(t, records, problems, c.want, c.problems)
		})
	}
}

func TestCodeOwnersSource(t *testing.T) {
	for file, want := range map[string]string{
		"CODEOWNERS":               gitLabOwners, // it has a section
		"docs/CODEOWNERS":          gitLabOwners,
		"shop/.github/CODEOWNERS":  gitHubOwners,
		`shop\.gitlab\CODEOWNERS`:  gitLabOwners,
		"shop/x.github/CODEOWNERS": gitLabOwners,
	} {
		records, _ := CodeOwners(file, []byte("\n[Docs]\n# x\n/docs/ @shop/docs @@owner\n"))
		last := records[len(records)-1]
		if got := (Source{want, file, 4}); last.Source != got {
			t.Errorf("got %+v, want %+v", last.Source, got)
		}
		if link := (Link{"owners", "@shop/docs @@owner"}); !slices.Contains(last.Links, link) {
			t.Errorf("%s: no %v in %v", file, link, last.Links)
		}
	}
}

func TestSentry(t *testing.T) {
	records, problems := Sentry("rules", []byte(`# the shop's
*.js #front Ann@Shop.example
  path:"src/Old \"Pay\"/*"   #attic
module:com.acme.pay.*  #pay
url:https://shop.example/checkout/* #checkout
tags.region:"eu west" #eu
tags.py #odd
codeowners:/src/
http://x #y
path:x front
path: #front
path:"x #front
path:x # #front
path:`+strings.Repeat("x", patternBytesMax+1)))
	checkTold(t, records, problems, []string{
		"path:*.js = front ann@shop.example", `path:src/Old "Pay"/* = attic`, "module:com.acme.pay.* = pay",
		"url:https://shop.example/checkout/* = checkout", "tags.region:eu west = eu", "path:tags.py = odd",
		"codeowners:/src/ = ", "path:http://x = y",
	}, []string{
		`"front" is neither a #team nor an email address`, "path has no pattern", `the quote is not closed: "x #front`,
		`"#" is neither a #team nor an email address`, "the pattern is longer than 4096 bytes",
	})
	want := Record{
		Kind: Path, Pattern: "path:*.js", Owner: "front", Owners: []string{"ann@shop.example"},
		Links: []Link{{"owners", "#front Ann@Shop.example"}}, Source: Source{sentryOwners, "rules", 2},
	}
	if !reflect.DeepEqual(records[0], want) {
		t.Errorf("got %+v, want %+v", records[0], want)
	}
}

// The lines of a section share its owners, of which there can be a megabyte.
func TestCodeOwnersLongLine(t *testing.T) {
	const lines = 1 << 10
	var owners strings.Builder
	for i := range 1 << 17 {
		fmt.Fprintf(&owners, "@a%d ", i)
	}
	records, problems := CodeOwners("CODEOWNERS", []byte("[s] "+owners.String()+"\n"+strings.Repeat("*\n", lines)))
	if len(records) != lines || len(problems) != 1 || len(records[lines-1].Owners) != ownersOfLineMax-1 {
		t.Errorf("%d records, problems %v", len(records), problems)
	}
	for _, l := range records[0].Links {
		if len(l.Target) > linkBytesMax+3 {
			t.Errorf("the link %q has %d bytes", l.Name, len(l.Target))
		}
	}
}

// However many lines are wrong, none of them counts, and they are not all told.
func TestCodeOwnersProblemsAreBounded(t *testing.T) {
	records, problems := CodeOwners("CODEOWNERS", []byte(strings.Repeat("/a/ nobody @ann\n", 1000)))
	if len(records) != 0 || len(problems) != problemsMax+1 {
		t.Errorf("%d records, %d problems", len(records), len(problems))
	}
}

// checkRead holds what each reader of paths promises whatever it is given.
func checkRead(t *testing.T, data []byte, records []Record, problems []Problem) {
	t.Helper()
	lines := strings.Count(string(data), "\n") + 1
	last := 0
	for _, r := range records {
		if r.Kind != Path || r.Pattern == "" || boundPattern(r.Pattern) != nil {
			t.Fatalf("a record of %+v", r)
		}
		if r.Owner == "" && len(r.Owners) > 0 || r.Source.Line <= last || r.Source.Line > lines {
			t.Fatalf("%+v after line %d of %d", r, last, lines)
		}
		last = r.Source.Line
	}
	for _, p := range problems {
		if p.Reason == "" || p.Line < 1 || p.Line > lines {
			t.Fatalf("%+v of %d lines", p, lines)
		}
	}
}

func FuzzCodeOwners(f *testing.F) {
	f.Add("CODEOWNERS", []byte("* @a/b\n[x][2] @c\n^[y]\n!z\n/a\\ b x@y.z # @d\n"))
	f.Add(".github/CODEOWNERS", []byte("\ufeff\\# @\r\n[ @@x"))
	f.Fuzz(func(t *testing.T, file string, data []byte) {
		records, problems := CodeOwners(file, data)
		checkRead(t, data, records, problems)
	})
}

func FuzzSentry(f *testing.F) {
	f.Add([]byte("path:\"a\\\"b\" #t a@b.c\ntags.x:y #z\ncodeowners:/\n*"))
	f.Fuzz(func(t *testing.T, data []byte) {
		records, problems := Sentry("rules", data)
		checkRead(t, data, records, problems)
	})
}
