package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/prometheus/client_golang/prometheus"
	"go.yaml.in/yaml/v3"

	"github.com/whosehop/whosehop/analyzer"
	"github.com/whosehop/whosehop/collector"
	"github.com/whosehop/whosehop/ownership"
	"github.com/whosehop/whosehop/ownership/stored"
)

// described is a registry that remembers what is registered, with or without samples.
type described map[string]bool

var fqName = regexp.MustCompile(`fqName: "([^"]+)"`)

func (d described) Register(c prometheus.Collector) error {
	all := make(chan *prometheus.Desc)
	go func() {
		c.Describe(all)
		close(all)
	}()
	for desc := range all {
		d[fqName.FindStringSubmatch(desc.String())[1]] = true
	}
	return nil
}

func (d described) MustRegister(all ...prometheus.Collector) {
	for _, c := range all {
		_ = d.Register(c)
	}
}

func (d described) Unregister(prometheus.Collector) bool { return false }

// metricNames are all metrics of our own.
func metricNames(t *testing.T) described {
	t.Helper()
	names := make(described)
	var set cli
	parser, err := kong.New(&set, kong.NamedMapper("file", fileMapper{}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse([]string{"up", "--storage-dir", t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	cfg := set.collectorConfig()
	if _, err := collector.New(cfg, nil, log, names); err != nil {
		t.Fatal(err)
	}
	if _, err := analyzer.New(set.analyzerConfig(), nil, nil, nil, log, names); err != nil {
		t.Fatal(err)
	}
	stored.New(nil, ownership.Config{}, new(ownership.Current), log, names)
	return names
}

func TestMetricsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	written := make(map[string]bool)
	for line := range strings.Lines(string(text)) {
		if first, _, ok := strings.Cut(strings.TrimPrefix(line, "| `"), "|"); ok && strings.HasPrefix(line, "| `") {
			for _, name := range ourMetric.FindAllString(first, -1) {
				written[name] = true
			}
		}
	}
	for name := range metricNames(t) {
		if !written[name] {
			t.Errorf("docs/metrics.md does not say what %s is", name)
		}
		delete(written, name)
	}
	for name := range written {
		t.Errorf("docs/metrics.md says what %s is, and there is none", name)
	}
}

var ourMetric = regexp.MustCompile(`\b(?:whosehop_|traces_|owner:|whosehop:)[a-z0-9_:]+`)

// rulesFile is what is needed of a file of rules.
type rulesFile struct {
	Groups []rulesGroup `yaml:"groups"`
}

type rulesGroup struct {
	Name  string `yaml:"name"`
	Rules []rule `yaml:"rules"`
}

type rule struct {
	Record string `yaml:"record,omitempty"`
	Alert  string `yaml:"alert,omitempty"`
	Expr   string `yaml:"expr"`
}

// promtool runs Prometheus' own tool.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	tool, err := exec.LookPath("promtool")
	if err != nil {
		t.Fatal("promtool is missing: run deploy/testdeps.sh")
	}
	if out, err := exec.Command(tool, args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// checkNames holds the metrics of an expression against those that there are.
func checkNames(t *testing.T, where, expression string, known map[string]bool) {
	t.Helper()
	for _, name := range ourMetric.FindAllString(expression, -1) {
		plain := name
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			plain = strings.TrimSuffix(plain, suffix)
		}
		if !known[name] && !known[plain] {
			t.Errorf("%s: there is no metric %s", where, name)
		}
	}
}

func readRules(t *testing.T) rulesFile {
	t.Helper()
	text, err := os.ReadFile("../../deploy/prometheus/rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	var rules rulesFile
	if err := yaml.Unmarshal(text, &rules); err != nil {
		t.Fatal(err)
	}
	return rules
}

func TestRules(t *testing.T) {
	const dir = "../../deploy/prometheus/"
	promtool(t, "check", "config", dir+"prometheus.yml")
	promtool(t, "test", "rules", dir+"rules_test.yml")
	known := map[string]bool(maps.Clone(metricNames(t)))
	tests, err := os.ReadFile(dir + "rules_test.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range readRules(t).Groups {
		for _, r := range g.Rules {
			checkNames(t, r.Record+r.Alert, r.Expr, known)
			known[r.Record] = true
			if r.Alert != "" && !bytes.Contains(tests, []byte(r.Alert)) {
				t.Errorf("no test of the alert %s", r.Alert)
			}
		}
	}
}

// dashboard is what is needed of one.
type dashboard struct {
	UID        string `json:"uid"`
	Title      string `json:"title"`
	Templating struct {
		List []struct {
			Name       string `json:"name"`
			Type       string `json:"type"`
			Definition string `json:"definition"`
		} `json:"list"`
	} `json:"templating"`
	Panels []struct {
		ID         int        `json:"id"`
		Type       string     `json:"type"`
		Title      string     `json:"title"`
		Datasource datasource `json:"datasource"`
		GridPos    struct {
			X, Y, W, H int
		} `json:"gridPos"`
		Targets []struct {
			RefID      string     `json:"refId"`
			Expr       string     `json:"expr"`
			RawSQL     string     `json:"rawSql"`
			Datasource datasource `json:"datasource"`
		} `json:"targets"`
	} `json:"panels"`
}

type datasource struct{ Type, UID string }

// dashboardVariable is what Grafana puts into an expression itself.
var dashboardVariable = regexp.MustCompile(`\$\{?(\w+)`)

// TestDashboards: what Grafana is given is what it takes, and every expression asks for what there is. The SQL is run by the tests of
// internal/e2e.
func TestDashboards(t *testing.T) {
	files, err := filepath.Glob("../../deploy/grafana/dashboards/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no dashboards", err)
	}
	known := map[string]bool(maps.Clone(metricNames(t)))
	for _, g := range readRules(t).Groups {
		for _, r := range g.Rules {
			known[r.Record] = true
		}
	}
	seen := make(map[string]string)
	var parse rulesFile
	parse.Groups = []rulesGroup{{Name: "dashboards"}}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var d dashboard
		if err := json.Unmarshal(text, &d); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, key := range []string{d.UID, d.Title} {
			if seen[key] != "" || key == "" {
				t.Errorf("%s: %q is of %q as well", file, key, seen[key])
			}
			seen[key] = file
		}
		variables := []string{"__rate_interval", "__range", "__interval_s", "__timeFilter", "__timeInterval", "__conditionalAll"}
		for _, v := range d.Templating.List {
			variables = append(variables, v.Name)
			checkNames(t, file+": "+v.Name, v.Definition, known)
		}
		if len(d.Templating.List) == 0 || d.Templating.List[0].Type != "datasource" {
			t.Errorf("%s: its data source cannot be chosen", file)
		}
		ids, used := make(map[int]bool), make(map[[2]int]string)
		for _, p := range d.Panels {
			where := fmt.Sprintf("%s: %q", filepath.Base(file), p.Title)
			if ids[p.ID] || p.ID == 0 || p.Title == "" {
				t.Errorf("%s: its id %d is that of another panel, or it has no title", where, p.ID)
			}
			ids[p.ID] = true
			for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
				for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
					if other := used[[2]int{x, y}]; other != "" || x >= 24 {
						t.Fatalf("%s lies on %q", where, other)
					}
					used[[2]int{x, y}] = p.Title
				}
			}
			if (p.Type == "row") != (len(p.Targets) == 0) {
				t.Errorf("%s shows nothing", where)
			}
			refs := make(map[string]bool)
			for _, q := range p.Targets {
				if refs[q.RefID] || (q.Expr == "") == (q.RawSQL == "") || q.Datasource.UID != "${datasource}" || q.Datasource != p.Datasource {
					t.Errorf("%s: %+v", where, q)
				}
				refs[q.RefID] = true
				for _, v := range dashboardVariable.FindAllStringSubmatch(q.Expr+q.RawSQL, -1) {
					if !slices.Contains(variables, v[1]) {
						t.Errorf("%s: nobody sets $%s", where, v[1])
					}
				}
				if q.Expr != "" {
					checkNames(t, where, q.Expr, known)
					expression := strings.NewReplacer("$__rate_interval", "5m", "$__range", "1h").Replace(q.Expr)
					parse.Groups[0].Rules = append(parse.Groups[0].Rules, rule{Record: fmt.Sprintf("panel:%d_%s:%d", p.ID, strings.ReplaceAll(d.UID, "-", "_"), len(refs)), Expr: expression})
				}
			}
		}
	}
	text, err := yaml.Marshal(&parse)
	if err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(t.TempDir(), "dashboards.yml")
	if err := os.WriteFile(at, text, 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", at)
}

// TestGrafanaProvisioning: the files say what Grafana reads, and each data source once.
func TestGrafanaProvisioning(t *testing.T) {
	const dir = "../../deploy/grafana/provisioning/"
	var sources struct {
		APIVersion  int `yaml:"apiVersion"`
		Datasources []struct {
			Name, UID, Type, URL string
		}
	}
	var boards struct {
		APIVersion int `yaml:"apiVersion"`
		Providers  []struct {
			Name, Type string
			Options    struct{ Path string }
		}
	}
	for file, into := range map[string]any{"datasources/whosehop.yaml": &sources, "dashboards/whosehop.yaml": &boards} {
		text, err := os.ReadFile(dir + file)
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal(text, into); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
	}
	seen := make(map[string]bool)
	for _, d := range sources.Datasources {
		if seen[d.UID] || seen[d.Type] || d.Name == "" {
			t.Errorf("%+v comes twice, or has no name", d)
		}
		seen[d.UID], seen[d.Type] = true, true
	}
	for _, kind := range []string{"prometheus", "grafana-clickhouse-datasource", "jaeger", "tempo"} {
		if !seen[kind] {
			t.Errorf("there is no data source of type %s", kind)
		}
	}
	if sources.APIVersion != 1 || boards.APIVersion != 1 || len(boards.Providers) != 1 || boards.Providers[0].Type != "file" || boards.Providers[0].Options.Path == "" {
		t.Errorf("%+v, %+v", sources, boards)
	}
}
