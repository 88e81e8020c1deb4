package catalog

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// linesOf is a record as lines of what is set in it, links last.
func linesOf(r Record) []string {
	var lines []string
	var fields func(prefix string, v reflect.Value)
	fields = func(prefix string, v reflect.Value) {
		for i := range v.NumField() {
			switch name := v.Type().Field(i).Name; {
			case name == "Charter":
				fields("", v.Field(i))
			case name == "Links" || v.Field(i).IsZero():
			case name == "Source":
				lines = append(lines, fmt.Sprintf("line %d", r.Source.Line))
			default:
				lines = append(lines, fmt.Sprintf("%s %v", name, v.Field(i)))
			}
		}
	}
	fields("", reflect.ValueOf(r))
	for _, l := range r.Links {
		lines = append(lines, l.Name+" = "+l.Target)
	}
	return lines
}

// expect compares records, and problems as "line: reason", each a line of the text.
func expect(t *testing.T, records []Record, problems []Problem, wantRecords, wantProblems string) {
	t.Helper()
	var got, wrong []string
	for _, r := range records {
		got = append(got, strings.Join(linesOf(r), "\n"))
	}
	for _, p := range problems {
		if p.File != "f" {
			t.Errorf("a problem is in file %q", p.File)
		}
		wrong = append(wrong, fmt.Sprintf("%d: %s", p.Line, p.Reason))
	}
	if got, want := strings.Join(got, "\n\n"), strings.TrimSpace(wantRecords); got != want {
		t.Errorf("records\n got\n%s\nwant\n%s", got, want)
	}
	if got, want := strings.Join(wrong, "\n"), strings.TrimSpace(wantProblems); got != want {
		t.Errorf("problems\n got\n%s\nwant\n%s", got, want)
	}
}

// keptBounds holds what every reader promises of every file: names that can be kept, sources that can be found, links that
// are few.
func keptBounds(t *testing.T, format string, records []Record, problems []Problem) {
	for _, r := range records {
		if (r.Name == "" && r.Kind != Path) || len(r.Name) > nameBytesMax || r.Kind == "" {
			t.Errorf("a %q is called %q", r.Kind, short(r.Name))
		}
		if r.Source.Format != format || r.Source.File != "f" || r.Source.Line < 1 {
			t.Errorf("%s has the source %+v", short(r.Name), r.Source)
		}
		if len(r.Links) > linksMax+1 {
			t.Errorf("%s has %d links", short(r.Name), len(r.Links))
		}
	}
	for _, p := range problems {
		if p.File != "f" || p.Reason == "" || len(p.Reason) > 4*linkBytesMax {
			t.Errorf("problem %+v", p)
		}
	}
}

// A credential is not kept, wherever it stands.
func TestCredentialsAreNotKept(t *testing.T) {
	for name, read := range map[string]func(string, []byte) ([]Record, []Problem){"v2": Datadog, "opslevel": OpsLevel, "cortex": Cortex} {
		file := map[string]string{
			"v2": `{schema-version: v2, dd-service: a, token: hunter2, contacts: [{type: slack, contact: "https://me:hunter2@chat.example/1"}],
				links: [{type: doc, url: "https://me:hunter2@wiki.example/x?api_key=hunter2"}], tags: ["password:hunter2"],
				integrations: {pagerduty: {service-url: "https://pd.example/1", integration-key: hunter2}}, extensions: [{name: secret, value: hunter2}]}`,
			"opslevel": `{version: 1, service: {name: a, tags: [{key: api_token, value: hunter2}, "secret:hunter2"], properties: {db_password: hunter2},
				tools: [{name: x, category: other, url: "https://t.example/?token=hunter2"}], alert_sources: [{type: x, external_id: "1", routing_key: hunter2}]}}`,
			"cortex": `{openapi: 3.0.1, info: {title: a, x-cortex-custom-data: [{key: signing-key, value: hunter2}], x-cortex-custom-metadata: {vault: {token: hunter2}},
				x-cortex-link: [{type: doc, url: "https://x:hunter2@d.example/"}], x-cortex-groups: ["webhook:hunter2"], x-cortex-oncall: {pagerduty: {id: P1, integration-key: hunter2}}}}`,
		}[name]
		records, problems := read("f", []byte(file))
		if len(records) != 1 || len(problems) != 0 {
			t.Errorf("%s: %d records, problems %v", name, len(records), problems)
		}
		if text := fmt.Sprintf("%+v", records); strings.Contains(text, "hunter2") {
			t.Errorf("%s keeps a credential: %s", name, text)
		}
	}
}
