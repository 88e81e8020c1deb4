package catalog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// lay lays a tree out in a folder that is then the working one.
func lay(t *testing.T, archive string) {
	t.Helper()
	t.Chdir(t.TempDir())
	for _, f := range txtar.Parse([]byte(archive)).Files {
		put(t, f.Name, string(f.Data))
	}
}

func put(t *testing.T, name, data string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
}

// readAll is what is read, a line each: the records with their sources, then the problems.
func readAll(t *testing.T, paths ...string) string {
	t.Helper()
	records, problems, err := Read(paths, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, r := range records {
		owner := r.Owner
		if owner == "" {
			owner = "-"
		}
		fmt.Fprintf(&b, "%s %s %s%s %s\n", r.Source, r.Source.Format, r.Kind, strings.TrimRight(" "+r.Name+r.Pattern, " "), owner)
	}
	for _, p := range problems {
		fmt.Fprintln(&b, p)
	}
	return strings.TrimSpace(b.String())
}

func expectRead(t *testing.T, got, want string) {
	t.Helper()
	if want = strings.TrimSpace(want); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// A tree of files tells by names and contents what they are.
const shopTree = `
-- README.md --
apiVersion: backstage.io/v1alpha1
-- all.yaml --
apiVersion: backstage.io/v1alpha1
kind: Component
metadata: {name: till}
spec: {owner: coin}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {team: shopkeepers}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: x, labels: {team: none}}
---
schema-version: v2.2
dd-service: stock
team: shelf
---
openapi: 3.0.1
info: {title: rates, x-cortex-owners: [{type: group, name: money}]}
---
version: 1
service: {name: basket, owner: cko}
---
services: [{name: ledger, owner: dba}]
---
services: {web: {image: nginx}}
---
kind: [
-- broken.yaml --
a: [
-- chart/templates/x.yaml --
{{- if .x }}
apiVersion: v1
{{- end }}
-- chart/Chart.yaml --
apiVersion: v2
-- chart/templates/y.yaml --
apiVersion: v1
kind: Service
metadata: {name: "{{ .Release.Name }}", labels: {owner: x}}
---
{{- if }}
-- cortex.yaml --
target: all
-- compose.yml --
services: {web: {image: nginx}}
-- settings.yml --
repository: {name: x}
teams: [{name: a, permission: push}]
-- api/service.datadog.yaml --
schema-version: v2
-- api/entity.datadog.yaml --
apiVersion: v3
kind: service
metadata: {name: api, inheritFrom: "service:base"}
-- base/entity.datadog.json --
{"apiVersion": "v3", "kind": "service", "metadata": {"name": "base", "owner": "team:base"}}
-- ops/opslevel.yml --
version: 1
repository: {owner: ops}
-- catalog-info.yaml --
b: [
-- shop.owners.yaml --
sevices: []
-- node_modules/x/catalog-info.yaml --
apiVersion: backstage.io/v1alpha1
kind: Component
metadata: {name: notours}
-- repos/a/CODEOWNERS --
* @shop/a
-- repos/a/.github/CODEOWNERS --
*  @shop/a2
-- repos/a/testdata/CODEOWNERS --
*  @shop/test
-- repos/b/docs/CODEOWNERS --
[Part] @shop/b
x
-- repos/b/pay.sentry --
path:src/* #pay
`

func TestReadTree(t *testing.T) {
	lay(t, shopTree)
	put(t, "repos/a/.git/config", "[core]\n\turl = no\n[remote \"origin\"]\n\turl = git@git.example:shop/a.git\n")
	expectRead(t, readAll(t, "."), `
all.yaml:1 backstage service till coin
all.yaml:6 kubernetes namespace shop shopkeepers
all.yaml:14 datadog service stock shelf
all.yaml:19 cortex service rates money
all.yaml:22 opslevel service basket cko
all.yaml:24 whosehop service ledger dba
api/entity.datadog.yaml:1 datadog service api base
base/entity.datadog.json:1 datadog service base base
ops/opslevel.yml:2 opslevel path * ops
repos/a/.github/CODEOWNERS:1 codeowners path * a2
repos/b/docs/CODEOWNERS:2 gitlab-codeowners path x b
repos/b/pay.sentry:1 sentry path path:src/* pay
all.yaml:28: not YAML: did not find expected node content
api/service.datadog.yaml:1: the service has no name
catalog-info.yaml:1: not YAML: did not find expected node content
shop.owners.yaml:1: "sevices" is not known: teams, services, datastores, queues, third-parties, apis, systems, operations, edges, namespaces and paths are
`)
	// The same by other names, once.
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	expectRead(t, readAll(t, "repos/b", here+"/repos/b", "./repos/b/pay.sentry"), `
repos/b/docs/CODEOWNERS:2 gitlab-codeowners path x b
repos/b/pay.sentry:1 sentry path path:src/* pay
`)
	records, _, err := Read([]string{"repos/a/.github/CODEOWNERS"}, Options{})
	if err != nil || len(records) != 1 || records[0].Repository != "https://git.example/shop/a" {
		t.Errorf("got %+v, %v", records, err)
	}
}

// Of a repository's CODEOWNERS one counts, and the others are no mistake.
func TestReadOneCodeOwners(t *testing.T) {
	lay(t, `
-- a/.github/CODEOWNERS --
* @a
-- a/CODEOWNERS --
* @b
-- a/docs/CODEOWNERS --
* @c
-- b/CODEOWNERS --
* @b
-- b/docs/CODEOWNERS --
* @c
-- c/.gitlab/CODEOWNERS --
* @d
-- c/docs/CODEOWNERS --
* @c
`)
	expectRead(t, readAll(t, "."), `
a/.github/CODEOWNERS:1 codeowners path * a
b/CODEOWNERS:1 codeowners path * b
c/docs/CODEOWNERS:1 codeowners path * c
`)
}

// What is named is read whatever its name is, or it is said why not.
func TestReadFiles(t *testing.T) {
	lay(t, shopTree)
	put(t, "owners", "services: [{name: a, owner: b}]")
	put(t, "odd\x84.owners.yaml", "services: [{name: odd, owner: b}]") // what fuzzing found: a record has UTF-8
	put(t, "odd\x84/CODEOWNERS", "* @odd\n")
	put(t, "empty.yaml", "# nothing\n")
	put(t, "values.yaml", "a: b\n")
	put(t, "binary", "\x7fELF\x00\x01")
	expectRead(t, readAll(t, "owners", "odd\x84.owners.yaml", "odd\x84", "settings.yml", "broken.yaml", "empty.yaml", "binary", "cortex.yaml", "README.md", "values.yaml"), `
odd�.owners.yaml:1 whosehop service odd b
odd�/CODEOWNERS:1 codeowners path * odd
owners:1 whosehop service a b
settings.yml:2 whosehop team a -
README.md:1: an entity has no name: not read
binary: not read: it is no catalog of a known format (the registry's own, Backstage, Datadog, OpsLevel, Cortex, Kubernetes; CODEOWNERS and Sentry's rules by the file's name)
broken.yaml:1: not YAML: did not find expected node content
cortex.yaml:1: openapi is "": a descriptor of Cortex's catalog has 3
empty.yaml: nothing is in it
settings.yml:1: "repository" is not known: teams, services, datastores, queues, third-parties, apis, systems, operations, edges, namespaces and paths are
values.yaml:1: not read: it is no catalog of a known format (the registry's own, Backstage, Datadog, OpsLevel, Cortex, Kubernetes; CODEOWNERS and Sentry's rules by the file's name)
`)
	for _, missing := range []string{"no-such.yaml", "no/such"} {
		if _, _, err := Read([]string{"owners", missing}, Options{}); err == nil || err.Error() != "read "+missing+": no such file or directory" {
			t.Errorf("%s: %v", missing, err)
		}
	}
}

// Links lead neither out of the tree nor around in it. Kubernetes mounts files by links to links.
func TestReadLinks(t *testing.T) {
	lay(t, `
-- outside.owners.yaml --
services: [{name: outside, owner: x}]
-- out/owners.yaml --
services: [{name: out, owner: x}]
-- tree/..2026/owners.yaml --
services: [{name: mounted, owner: x}]
-- tree/sub/owners.yaml --
services: [{name: sub, owner: x}]
`)
	for link, to := range map[string]string{
		"tree/..data": "..2026", "tree/owners.yaml": "..data/owners.yaml", "tree/a.owners.yaml": "../outside.owners.yaml", "tree/round": ".",
		"tree/sub/up": "..", "tree/out": "../out", "tree/b.owners.yaml": "b.owners.yaml", "tree/c.owners.yaml": "nowhere", "tree/z.owners.yaml": "sub/owners.yaml", "link": "tree",
	} {
		if err := os.Symlink(to, link); err != nil {
			t.Fatal(err)
		}
	}
	const want = `
%[1]s/owners.yaml:1 whosehop service mounted x
%[1]s/z.owners.yaml:1 whosehop service sub x
`
	for _, tree := range []string{"tree", "link"} {
		expectRead(t, readAll(t, tree), fmt.Sprintf(want, tree))
	}
}

func TestReadIsBounded(t *testing.T) {
	t.Chdir(t.TempDir())
	deep := strings.Repeat("d/", foldersMax+1)
	put(t, deep+"owners.yaml", "services: [{name: a, owner: b}]")
	put(t, strings.Repeat("d/", foldersMax)+"owners.yaml", "services: [{name: a, owner: b}]")
	put(t, "huge.yaml", strings.Repeat("#", fileBytesMax+1))
	put(t, "values.yaml", "apiVersion: v1\nkind: ConfigMap\ndata: {a: "+strings.Repeat("x", textBytesMax+1)+"}\n")
	got := readAll(t, ".")
	expectRead(t, got, fmt.Sprintf(`
%[1]sowners.yaml:1 whosehop service a b
%[1]sd: not read: it is more than %d folders deep
huge.yaml: more than %d bytes: split the file
`, strings.Repeat("d/", foldersMax), foldersMax, fileBytesMax))
}

// Short lines are many records, each of which takes more memory than its line.
func TestRecordsAreBounded(t *testing.T) {
	t.Chdir(t.TempDir())
	put(t, "CODEOWNERS", strings.Repeat("a\n", rulesMax+1))
	put(t, "a.sentry", strings.Repeat("a #b\n", rulesMax+1))
	records, problems, err := Read([]string{"."}, Options{})
	want := []Problem{
		{"CODEOWNERS", rulesMax + 1, "more than 100000 rules: the others are not read"}, {"a.sentry", rulesMax + 1, "more than 100000 rules: the others are not read"},
	}
	if err != nil || len(records) != 2*rulesMax || !slices.Equal(problems, want) {
		t.Errorf("%d records, problems %v, %v", len(records), problems, err)
	}
	put(t, "a.owners.yaml", strings.Repeat("services: [{name: a}]\n---\n", 2000))
	for _, c := range []struct {
		most int
		path string
	}{{999, "a.owners.yaml"}, {99, "."}, {rulesMax - 1, "CODEOWNERS"}, {rulesMax - 1, "a.sentry"}, {2*rulesMax + 1999, "."}} {
		r := newReading(Options{})
		r.recordsMax = c.most
		if err := r.path(c.path); !errors.Is(err, errTooManyRecords) {
			t.Errorf("%s: %v", c.path, err)
		}
		if n := r.yaml[isOwn].found(); c.path == "a.owners.yaml" && n != c.most+1 {
			t.Errorf("%s: read on to %d records", c.path, n)
		}
	}
}

func TestReadTells(t *testing.T) {
	lay(t, shopTree)
	looked, known := 0, 0
	if _, _, err := Read([]string{"."}, Options{Looked: func(_ string, is bool) {
		looked++
		if is {
			known++
		}
	}}); err != nil || looked != 15 || known != 11 {
		t.Errorf("%d files, %d known, %v", looked, known, err)
	}
}

// What documents say of themselves is bounded in time and memory, whatever they are.
func FuzzDocumentsOfAnyFormat(f *testing.F) {
	for _, file := range txtar.Parse([]byte(shopTree)).Files {
		f.Add(file.Name, file.Data)
	}
	f.Add("x.yaml", []byte(bomb("{kind: Pod}")+"services: *l9\n"))
	f.Add("x.yaml", []byte("- *a\n---\n&a {<<: *a}\n---\nservices: [[]]\n"))
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		r := newReading(Options{})
		r.read(strings.ToValidUTF8(filepath.Base(name), "x"), data, len(data)%2 == 0)
		records, problems := r.result()
		for _, c := range records {
			if c.Kind == "" || c.Source.Format == "" || len(c.Name) > nameBytesMax || len(c.Links) > linksMax+1 {
				t.Errorf("%+v", c)
			}
		}
		for _, p := range problems {
			if p.Reason == "" || len(p.Reason) > 4*linkBytesMax {
				t.Errorf("problem %+v", p)
			}
		}
		if len(data) < 1<<16 {
			writtenIsRead(t, records)
		}
	})
}

// What was a catalog before somebody mistyped something is no other file: it would be taken for one whose records ended.
func TestMistypedFilesInTree(t *testing.T) {
	lay(t, `
-- backstage.yaml --
apiVersion: backstage.io/v1alpha1
kind: Component
metadata: {name: [}
-- cortex-like.yaml --
openapi: 3.0.1
info:
  x-cortex-tag: a
  x: [
-- datadog.yaml --
schema-version: v2.2
dd-service: [
-- edges.yaml --
services:
  - {name: till, owner: coin}
edgse:
  - {edge: "till->ledger", owner: net}
-- first.yaml --
services:
  - {nam: till, owner: coin}
  - {name: stock, owner: shelf}
-- foreign.yaml --
services:
  - {name: basket, owner: cko}
teams: [{name: cko}]
people: [{name: ann}]
-- none.yaml --
services:
teams: [{name: coin}]
-- only.yaml --
Sevices: [{name: x, owner: coin}]
-- tab.yaml --
# ours
services:
	- name: till
	  owner: coin
-- unclosed.yaml --
services:
  - name: till
    owner: coin
  - {name: ledger, owner: [
-- wrong.yaml --
teams:
  - name: "coin
-- other/broken-compose.yaml --
services:
  web: # the shop
    container_name: {{ name }}
    name: x
-- other/ci.yaml --
image: go
stages: [test]
services: [{name: "docker:dind", alias: docker}]
-- other/compose.yaml --
services: {web: {image: nginx, labels: {owner: a}}}
volumes: {}
-- other/graph.yaml --
nodes: [{name: a}]
edges: [{source: a, target: b}]
-- other/openapi.yaml --
openapi: 3.0.1
paths:
  /a: {get: {operationId: [}}
  name: x
-- other/rabbit.yaml --
vhosts: [{name: /}]
queues: [{name: orders, owner: x}]
-- other/template.yaml --
{{ range . }}
name: {{ . }}
{{ end }}
-- other/travis.yaml --
services: [docker]
-- other/values.yaml --
global: {}
image: x
namespaces: [{name: shop, owner: a}]
-- other/workflow.yaml --
on: {push: {paths: [a]}}
jobs: {a: {services: {db: {image: x}}}}
`)
	const known = "is not known: teams, services, datastores, queues, third-parties, apis, systems, operations, edges, namespaces and paths are"
	expectRead(t, readAll(t, "."), `
edges.yaml:2 whosehop service till coin
first.yaml:3 whosehop service stock shelf
foreign.yaml:2 whosehop service basket cko
foreign.yaml:3 whosehop team cko -
none.yaml:2 whosehop team coin -
backstage.yaml:2: not YAML: did not find expected node content
cortex-like.yaml:4: not YAML: did not find expected node content
datadog.yaml:2: not YAML: did not find expected node content
edges.yaml:3: "edgse" `+known+`
first.yaml:2: the service has no name
foreign.yaml:4: "people" `+known+`
only.yaml:1: "Sevices" `+known+`
tab.yaml:3: not YAML: found character that cannot start any token
unclosed.yaml:4: not YAML: did not find expected node content
wrong.yaml:2: not YAML: found unexpected end of stream
`)
}

func TestNearly(t *testing.T) {
	for _, c := range []struct {
		key, meant string
		want       bool
	}{
		{"edgse", "edges", true},
		{"edge", "edges", true},
		{"Edges", "edges", true},
		{"nodes", "edges", false},
		{"naem", "name", true},
		{"names", "name", true},
		{"same", "name", true},
		{"kind", "name", false},
		{"third_parties", "third-parties", true},
		{"thirdparties", "third-parties", true},
		{"srevcies", "services", true},
		{"stages", "teams", false},
		{"databases", "datastores", false},
		{"args", "apis", false},
		{"", "apis", false},
	} {
		if got := nearly(c.key, c.meant); got != c.want {
			t.Errorf("%s, %s: %v", c.key, c.meant, got)
		}
	}
}
