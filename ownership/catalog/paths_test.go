package catalog

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
)

// rules are records from CODEOWNERS lines, the format's own.
func rules(t testing.TB, file, text string) []Record {
	t.Helper()
	records, problems := CodeOwners(file, []byte(text))
	if len(problems) > 0 {
		t.Fatalf("%+v", problems)
	}
	return records
}

func sentryRules(t testing.TB, text string) []Record {
	t.Helper()
	records, problems := Sentry("rules", []byte(text))
	if len(problems) > 0 {
		t.Fatalf("%+v", problems)
	}
	return records
}

// owner is the answer in a word: a name, "nobody" of an un-owned file, and "-" if no line speaks of it.
func owner(r *Record, ok bool) string {
	switch {
	case !ok:
		return "-"
	case r.Owner == "":
		return "nobody"
	}
	return r.Owner
}

func TestPathsGitHub(t *testing.T) {
	p := NewPaths(rules(t, ".github/CODEOWNERS", `
*                 @shop/everyone
*.sql             @shop/data
/services/pay/    @shop/pay
/services/pay/ui  @shop/web
docs/*            docs@shop.example
infra/            @shop/platform
/infra/generated/
**/proto          @shop/api
/a/**/z.txt       @deep
/tools/v?/        @tools
/with\ space/     @space
charts/*/values-*.yaml @shop/platform
Makefile          @build
/app/[id]/        @literal
`))
	for path, want := range map[string]string{
		"README":                             "everyone",
		"db/schema.sql":                      "data",
		"services/pay/charge.go":             "pay",
		"services/pay/db/charge.sql":         "pay",
		"services/pay/ui":                    "web",
		"services/pay/ui/page.ts":            "web",
		"services/pay/uix":                   "pay",
		"old/services/pay/charge.go":         "everyone",
		"docs/a.md":                          "docs@shop.example",
		"docs/a/b.md":                        "everyone",
		"old/docs/a.md":                      "everyone",
		"infra/main.tf":                      "platform",
		"old/infra/main.tf":                  "platform",
		"infra":                              "everyone",
		"infra/generated/x.tf":               "nobody",
		"x/y/proto/a.proto":                  "api",
		"proto":                              "api",
		"a/z.txt":                            "deep",
		"a/b/c/z.txt":                        "deep",
		"tools/v1/x":                         "tools",
		"tools/v10/x":                        "everyone",
		"tools/vé/x":                         "tools",
		"with space/x":                       "space",
		"charts/shop/values-eu.yaml":         "platform",
		"charts/shop/eu/values-eu.yaml":      "everyone",
		"deep/Makefile":                      "build",
		"app/[id]/page.ts":                   "literal",
		"app/i/page.ts":                      "everyone",
		"./services/pay/charge.go":           "pay",
		`services\pay\charge.go`:             "pay",
		"webpack:///./services/pay/ui/x.tsx": "web",
		"":                                   "-",
		strings.Repeat("x/", pathBytesMax):   "-",
	} {
		if got := owner(p.Owner(path, 0)); got != want {
			t.Errorf("%.80q: got %s, want %s", path, got, want)
		}
	}
}

func TestPathsGitLab(t *testing.T) {
	p := NewPaths(rules(t, ".gitlab/CODEOWNERS", `
* @admins
!vendor/
/vendor/keep.c @late
README.md

[Docs][2] @writers
docs/
docs/api/index.md @api
*.md

^[Review] @reviewers
*.go
/all/**

[Database] @dba
db/
!db/seed/
config/schema @dba2
/one/**

[docs]
manual.txt @bo
`))
	for path, want := range map[string]string{
		"main.c":                 "admins",
		"main.go":                "reviewers",
		"vendor/x.c":             "-", // an exclusion has no owner, and no other section speaks
		"vendor/x.go":            "reviewers",
		"lib/docs/x":             "writers", // unanchored although a slash is in the middle of docs/api
		"x/docs/api/index.md":    "writers", // by *.md, the section's last
		"README.md":              "writers",
		"db/seed/x":              "admins",
		"x/db/y/z":               "dba",
		"x/config/schema":        "dba2",
		"x/config/schema/deeper": "dba2", // a folder without a slash at its end
		"one/x":                  "dba",
		"one/x/y":                "dba",
		"docs/manual.txt":        "bo", // of the same section as the first, and later
	} {
		if want == "-" {
			want = "nobody"
		}
		if got := owner(p.Owner(path, 0)); got != want {
			t.Errorf("%q: got %s, want %s", path, got, want)
		}
	}
}

func TestPathsSentry(t *testing.T) {
	p := NewPaths(sentryRules(t, `
path:*.py               #backend
src/pay/*               #pay
path:"src/Old Pay/*"    #attic
path:/usr/local/src/*/app.py ops@shop.example
path:src/pay/legacy.js
codeowners:/web/        #web
*.[jt]sx                #react
module:com.acme.pay.*   #java
module:*.Checkout       #checkout
url:https://shop.example/* #front
tags.region:eu          #eu
`))
	for path, want := range map[string]string{
		"x/y.py":                    "backend",
		"x/y.PY":                    "backend",
		"src/pay/deep/charge.js":    "pay",
		"SRC/Pay/charge.js":         "pay",
		"x/src/pay/charge.js":       "-",
		"src/old pay/x.js":          "attic",
		"/usr/local/src/a/b/app.py": "ops@shop.example",
		"src/pay/legacy.js":         "nobody",
		"web/x.ts":                  "web",
		"web/x.tsx":                 "react",
		"web/x.csx":                 "web",
		`src\pay\charge.js`:         "pay",
		"https://shop.example/x":    "-",
		"eu":                        "-",
	} {
		if got := owner(p.Owner(path, 0)); got != want {
			t.Errorf("%q: got %s, want %s", path, got, want)
		}
	}
	for frame, want := range map[string]string{
		"at com.acme.pay.Charge.run(Charge.java:12)":   "java",
		"com.acme.shop.Checkout":                       "checkout",
		"at src/pay/charge.js:1:2":                     "pay",
		`  File "src/pay/a.py", line 7, in charge`:     "pay",
		"at com.acme.other.Charge.run(Unknown Source)": "-",
	} {
		if got := owner(p.Frame(frame, 0)); got != want {
			t.Errorf("%q: got %s, want %s", frame, got, want)
		}
	}
}

func TestPathsElsewhere(t *testing.T) {
	records := rules(t, "CODEOWNERS", `
* @everyone
/src/pay/ @pay
/src/pay/card/ @card
/lib/ @lib
/lib/router/ @router
**/shared/money/ @money
`)
	p := NewPaths(records)
	rooted := NewPaths(records, "/srv/shop", "webpack://shop/", `C:\build\`)
	for _, c := range []struct{ path, want, rooted string }{
		{"/home/ci/build/repo/src/pay/charge.go", "pay", "pay"},
		{"/home/ci/build/repo/src/pay/card/x.go", "card", "card"},
		{`D:\ci\repo\src\pay\charge.cs`, "pay", "pay"},
		{"file:///home/ci/repo/src/pay/charge.js", "pay", "pay"},
		{"../repo/src/pay/charge.js", "pay", "pay"},
		{"/home/ci/repo/go/shared/money/round.go", "money", "money"},
		// One folder could be anybody's.
		{"/usr/lib/python3/json.py", "-", "-"},
		{"/home/ci/repo/README.md", "-", "-"},
		// Two places are as good.
		{"/x/src/pay/y/src/pay/charge.go", "-", "-"},
		// A library has the same folders.
		{"/x/node_modules/express/lib/router/index.js", "-", "-"},
		{"node_modules/express/lib/router/index.js", "-", "-"},
		{"/srv/shop/node_modules/express/lib/router/index.js", "-", "-"},
		{"/go/pkg/mod/example.com/x@v1.2.3/src/pay/x.go", "-", "-"},
		// Its name is not one of a library's folder.
		{"my_node_modules/x.js", "everyone", "everyone"},
		{"/srv/shop/lib/x.py", "-", "lib"},
		{"/srv/shop/README.md", "-", "everyone"},
		{"/srv/shopping/README.md", "-", "-"},
		{"/srv/shop", "-", "-"},
		{"webpack://shop/lib/x.js", "-", "lib"},
		{`C:\build\lib\x.cs`, "-", "lib"},
	} {
		if got := owner(p.Owner(c.path, 0)); got != c.want {
			t.Errorf("%q: got %s, want %s", c.path, got, c.want)
		}
		if got := owner(rooted.Owner(c.path, 0)); got != c.rooted {
			t.Errorf("%q with roots: got %s, want %s", c.path, got, c.rooted)
		}
	}
}

func TestFrame(t *testing.T) {
	p := NewPaths(rules(t, "CODEOWNERS", `
* @everyone
/services/pay/src/main/java/com/acme/pay/ @pay
/services/pay/src/main/kotlin/com/acme/pay/*.kt @kotlin
/src/shop/cart/ @cart
/internal/pay/ @gopay
`))
	for line, want := range map[string]string{
		"\tat com.acme.pay.Charge.run(Charge.java:12)":                      "pay",
		"at app//com.acme.pay.card.Charge$Lazy.run(Charge.java:12)":         "pay",
		"com.acme.pay.Charge":                                               "pay",
		"com.acme.pay.Charge$Lazy":                                          "pay",
		"at com.acme.pay.Main.main(Main.kt)":                                "kotlin",
		"at com.acme.pay.Main.main(Native Method)":                          "pay",
		"at java.base/java.util.HashMap.get(HashMap.java:557)":              "-",
		"at charge (/app/src/shop/cart/charge.js:12:3)":                     "cart",
		"at async /app/src/shop/cart/charge.js:12:3":                        "cart",
		"at file:///app/src/shop/cart/charge.js:12:3":                       "cart",
		"charge@https://shop.example/src/shop/cart/charge.js:12:3":          "cart",
		"at new Promise (<anonymous>)":                                      "-",
		`  File "/app/src/shop/cart/charge.py", line 12, in charge`:         "cart",
		"shop.cart.charge":                                                  "cart",
		"\t/home/ci/repo/internal/pay/charge.go:12 +0x1d":                   "gopay",
		"github.com/acme/shop/internal/pay.(*T).Charge(0xc000, {0x1, 0x2})": "-",
		"src/shop/cart/charge.py:12":                                        "cart",
		"charge.js:12":                                                      "everyone",
		"":                                                                  "-",
		"()":                                                                "-",
		"at x(" + strings.Repeat("x", pathBytesMax) + ".java)":              "-",
	} {
		if got := owner(p.Frame(line, 0)); got != want {
			t.Errorf("%.80q: got %s, want %s", line, got, want)
		}
	}
}

// slow is what a pattern means, as a regular expression, segment by segment.
func slow(pattern string, gitLab bool) *regexp.Regexp {
	body, folder := strings.CutSuffix(pattern, "/")
	rooted := strings.HasPrefix(body, "/")
	body = strings.TrimPrefix(body, "/")
	if !gitLab && strings.Contains(body, "/") {
		rooted = true
	}
	var re strings.Builder
	re.WriteString(`^`)
	if !rooted {
		re.WriteString(`(?:[^/]+/)*`)
	}
	segments := strings.Split(body, "/")
	for i, s := range segments {
		if i < len(segments)-1 {
			if s == "**" {
				re.WriteString(`(?:[^/]+/)*`)
			} else {
				re.WriteString(slowSegment(s) + `/`)
			}
			continue
		}
		switch {
		case s == "**" && !folder: // all in the folder
			re.WriteString(`.+`)
		case folder:
			re.WriteString(slowSegment(s) + `/.+`)
		case s == "*":
			re.WriteString(slowSegment(s))
		default:
			re.WriteString(slowSegment(s) + `(?:/.+)?`)
		}
	}
	return regexp.MustCompile(re.String() + `$`)
}

func slowSegment(s string) (re string) {
	if s == "*" || s == "**" {
		return `[^/]+`
	}
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '*':
			re += `[^/]*`
		case '?':
			re += `[^/]`
		case '\\':
			i++
			re += regexp.QuoteMeta(s[i : i+1])
		default:
			re += regexp.QuoteMeta(s[i : i+1])
		}
	}
	return re
}

// Compiled rules must say what a scan of regular expressions from the last to the first says.
func TestPathsAgainstScan(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	pick := func(of ...string) string { return of[random.IntN(len(of))] }
	for range 1500 {
		gitLab := random.IntN(2) == 0
		records := make([]Record, 1+random.IntN(12))
		slowly := make([]*regexp.Regexp, len(records))
		excludes := make([]bool, len(records))
		for i := range records {
			r := &records[i]
			r.Kind, r.Source.Format = Path, gitHubOwners
			if random.IntN(2) == 0 {
				r.Pattern = "/"
			}
			for n := 1 + random.IntN(4); n > 0; n-- {
				r.Pattern += pick("a", "b", "c", "ab", "a.x", "*", "**", "*.x", "a*", "?", "*b*", `\*`, `a\b`, "a*b?") + "/"
			}
			if random.IntN(3) > 0 {
				r.Pattern = strings.TrimSuffix(r.Pattern, "/")
			}
			slowly[i] = slow(r.Pattern, gitLab)
			if gitLab {
				r.Source.Format = gitLabOwners
				if random.IntN(8) == 0 {
					excludes[i], r.Pattern = true, "!"+r.Pattern
				}
			}
		}
		p := NewPaths(records)
		for range 100 {
			segments := []string{pick("a", "b", "c", "ab", "a.x", "*")}
			for random.IntN(4) > 0 {
				segments = append(segments, pick("a", "b", "c", "ab", "a.x", "b.x", "aab", "abc", "*"))
			}
			path := strings.Join(segments, "/")
			want := -1
			for i := range records {
				if slowly[i].MatchString(path) && (want < 0 || excludes[i] || !excludes[want]) {
					want = i
				}
			}
			got := -1
			if r, ok := p.Owner(path, 0); ok {
				for i := range records {
					if r == &records[i] {
						got = i
					}
				}
			}
			if got != want {
				var patterns []string
				for _, r := range records {
					patterns = append(patterns, r.Pattern)
				}
				t.Fatalf("%q (gitlab %v): got %d, want %d of %q", path, gitLab, got, want, patterns)
			}
		}
	}
}

func TestSentryAgainstScan(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	pick := func(of ...string) string { return of[random.IntN(len(of))] }
	text := func(of string, most int) string {
		b := make([]byte, 1+random.IntN(most))
		for i := range b {
			b[i] = of[random.IntN(len(of))]
		}
		return string(b)
	}
	for range 2000 {
		records := make([]Record, 1+random.IntN(12))
		slowly := make([]*regexp.Regexp, len(records))
		for i := range records {
			glob := text("aAb/./*?", 8)
			if random.IntN(4) == 0 {
				glob += pick("[ab]", "[!a]b", "[.-b]/*", "[")
			}
			records[i] = Record{Kind: Path, Pattern: "path:" + glob, Source: Source{Format: sentryOwners}}
			re := strings.NewReplacer(`\*`, `.*`, `\?`, `.`, `\[ab\]`, `[ab]`, `\[!a\]`, `[^a]`, `\[\.-b\]`, `[.-b]`).Replace(regexp.QuoteMeta(glob))
			slowly[i] = regexp.MustCompile(`(?i)^` + re + `$`)
		}
		p := NewPaths(records)
		for range 50 {
			path := text("aAb/./[", 10)
			want := -1
			for i, re := range slowly {
				if re.MatchString(path) {
					want = i
				}
			}
			var won ranks
			p.globs.match(p, path, &won)
			if got := int(won.of[0]) - 1; got != want {
				t.Fatalf("%q: got %d, want %d of %+v", path, got, want, records)
			}
		}
	}
}

// monorepo is a file of a rule for each of n folders, with what else such files have.
func monorepo(t testing.TB, n int) ([]Record, []string) {
	var b strings.Builder
	b.WriteString("* @shop/everyone\n*.md @shop/docs\n*.sql @shop/data\ngo.mod @shop/build\n**/testdata/ @shop/tests\n")
	var paths []string
	for i := range n {
		area, service := i%40, i/40
		switch i % 10 {
		case 8:
			fmt.Fprintf(&b, "/services/area-%d/service-%d/**/*.proto @shop/api-%d\n", area, service, i%300)
		case 9:
			fmt.Fprintf(&b, "/services/area-%d/service-%d/migrations @shop/data-%d @shop/dba\n", area, service, i%300)
		default:
			fmt.Fprintf(&b, "/services/area-%d/service-%d/ @shop/team-%d\n", area, service, i%300)
		}
		if i%50 == 0 {
			paths = append(paths, fmt.Sprintf("services/area-%d/service-%d/internal/charge/charge.go", area, service))
		}
	}
	return rules(t, ".github/CODEOWNERS", b.String()), paths
}

func TestPathsAllocateNothing(t *testing.T) {
	records, paths := monorepo(t, 2000)
	p := NewPaths(append(records, sentryRules(t, "path:src/pay/* #pay")...))
	paths = append(paths, "/home/ci/repo/"+paths[0], "unknown", "a/b.md", "src/pay/charge.go")
	if n := testing.AllocsPerRun(10, func() {
		for _, path := range paths {
			p.Owner(path, 0)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkPaths(b *testing.B) {
	records, paths := monorepo(b, 50_000)
	p := NewPaths(records)
	b.Run("compile", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			NewPaths(records)
		}
	})
	for _, root := range []string{"", "/home/ci/build/"} {
		b.Run("owner"+root, func(b *testing.B) {
			elsewhere := make([]string, len(paths))
			for i := range paths {
				elsewhere[i] = root + paths[i]
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if _, ok := p.Owner(elsewhere[i%len(elsewhere)], 0); !ok {
					b.Fatal("no owner")
				}
				i++
			}
			b.ReportMetric(float64(i)/b.Elapsed().Seconds(), "lookups/s")
		})
	}
}

func FuzzPaths(f *testing.F) {
	f.Add("/a/**/b*c/ @x\n*.go @y\n", "path:*a*b*c* #t", "/home/a/x/bbc/d.go")
	f.Add("[s] @d\n!x/\n**\n", `module:"a.*" #t`, "at a.b.C.d(C.java:1)")
	f.Fuzz(func(t *testing.T, owners, sentry, path string) {
		if len(owners) > 1<<12 || len(sentry) > 1<<12 || len(path) > 1<<10 {
			t.Skip("how long it takes is bounded by the product of all")
		}
		records, _ := CodeOwners("CODEOWNERS", []byte(owners))
		more, _ := Sentry("sentry", []byte(sentry))
		p := NewPaths(append(records, more...), "/home")
		for _, ask := range []func(string, int64) (*Record, bool){p.Owner, p.Frame} {
			if r, ok := ask(path, 0); ok != (r != nil) || ok && r.Kind != Path {
				t.Fatalf("%+v, %v", r, ok)
			}
		}
	})
}
