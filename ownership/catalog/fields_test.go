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

// A credential is not kept, wherever it stands: by the name of its field, of a key beside its value, by its looks, or in a
// text that names it.
func TestCredentialsAreNotKept(t *testing.T) {
	for name, file := range map[string]string{
		"x.owners.yaml": `{services: [{name: a, owner: b, api-token: hunter2, nested: {db: {password: hunter2}}, more: [{key: signing-key, value: hunter2}],
			note: "curl -d 'token=hunter2'", links: {secret: hunter2, wiki: "https://me:hunter2@wiki.example/?api_key=hunter2"}, runbook: "https://me:hunter2@x.example"}]}`,
		"catalog-info.yaml": `{apiVersion: backstage.io/v1alpha1, kind: Component, token: hunter2, metadata: {name: a, password: hunter2,
			annotations: {pagerduty.com/integration-key: hunter2, x/y: '{"apiToken": "hunter2", "a": 1}', slack.com/webhook: "https://x.example/hunter2"}, labels: {x/secret: hunter2},
			links: [{url: "https://me:hunter2@x.example/", title: x}, {url: "https://x.example/hunter2", title: Slack Webhook}, {url: hunter2, title: "API key"}]},
			spec: {owner: b, secret: hunter2, more: [{name: db_password, value: hunter2}, {key: api-key, value: hunter2}]}}`,
		"2/service.datadog.yaml": `{schema-version: v2, dd-service: a, token: hunter2, contacts: [{type: slack, contact: "https://me:hunter2@chat.example/1"}, {type: webhook, contact: "https://x.example/hunter2"}],
			links: [{type: doc, url: "https://me:hunter2@wiki.example/x?api_key=hunter2"}, {type: token, name: x, url: hunter2}], tags: ["password:hunter2"],
			integrations: {pagerduty: {service-url: "https://pd.example/1", integration-key: hunter2}, opsgenie: {token: hunter2}}, extensions: [{name: secret, value: hunter2}]}`,
		"3/entity.datadog.yaml": `{apiVersion: v3, kind: service, secret: hunter2, metadata: {name: a, owner: b, api_key: hunter2,
			links: [{name: "access token", type: other, url: hunter2}], tags: ["auth-token:hunter2"]}, spec: {password: hunter2}, integrations: {pagerduty: {serviceURL: "https://pd.example/1", routing_key: hunter2}},
			extensions: {x: {client_secret: hunter2}}, datadog: {webhook: "https://x.example/hunter2"}}`,
		"opslevel.yml": `{version: 1, service: {name: a, tags: [{key: api_token, value: hunter2}, "secret:hunter2"], properties: {db_password: hunter2},
			tools: [{name: x, category: other, url: "https://t.example/?token=hunter2"}, {name: "Private key", category: other, url: hunter2}, {name: y, category: secret, url: "https://x.example/hunter2"}],
			alert_sources: [{type: x, external_id: "1", routing_key: hunter2}, {type: webhook, external_id: hunter2}]}}`,
		"cortex.yaml": `{openapi: 3.0.1, info: {title: a, x-cortex-custom-data: [{key: signing-key, value: hunter2}], x-cortex-custom-metadata: {vault: {token: hunter2}},
			x-cortex-link: [{type: doc, url: "https://x:hunter2@d.example/"}, {type: other, name: Webhook, url: "https://x.example/hunter2"}], x-cortex-groups: ["webhook:hunter2"],
			x-cortex-oncall: {pagerduty: {id: P1, integration-key: hunter2}, webhook: {id: hunter2}}}}`,
		"k8s.yaml": `{apiVersion: v1, kind: Service, metadata: {name: a, annotations: {a8r.io/owner: b, x/token: hunter2, x/json: '{"password":"hunter2"}', "y": "a=b, secret: hunter2",
			a8r.io/chat: "https://hooks.slack.com/services/T0/B0/hunter2", a8r.io/repository: "https://me:hunter2@git.example/x"}, labels: {team: c, api-key: hunter2}}}`,
		"pwd.owners.yaml": `{services: [{name: a, owner: b, db-pwd: hunter2, Passphrase: hunter2, authorization: hunter2, bearer: hunter2, sentry_dsn: hunter2,
			db: "shop:hun:hunter2@p@tcp(db:3306)/shop", note: "db=shop:hunter2@unix(/x) pwd=hunter2", head: "Authorization: Bearer hunter2", more: "https://x.example/?pwd=hunter2",
			pay: sk_live_` + "hunter2hunter2" + `, chat: "a sk_test_` + "hunter2hunter2" + `"}]}`,
		"pwd.yaml": `{apiVersion: v1, kind: Service, metadata: {name: a, annotations: {a8r.io/owner: b, x/pwd: hunter2, x/json: '{"authorization": "Basic hunter2", "passphrase": "hunter2"}',
			x/db: "shop:hunter2@tcp(db:3306)/shop", x/pay: sk_live_` + "hunter2hunter2" + `}}}`,
		"x.sentry": "url:https://me:hunter2@x.example/* #a\n",
	} {
		r := newReading(Options{})
		r.read(name, []byte(file), true)
		records, problems := r.result()
		for _, p := range problems {
			if !strings.Contains(p.Reason, "may be a credential") {
				t.Errorf("%s: problem %v", name, p)
			}
		}
		text := fmt.Sprintf("%+v", records)
		if len(records) != 1 || strings.Contains(text, "hunter2") {
			t.Errorf("%s: %d records; a credential is kept: %s", name, len(records), text)
		}
		var written strings.Builder
		if err := Write(&written, records); err != nil || strings.Contains(written.String(), "hunter2") {
			t.Errorf("%s: written (%v): %s", name, err, &written)
		}
	}
}

// What is public once stays as it is, and what is no credential stays.
func TestPublicTwice(t *testing.T) {
	for text, want := range map[string]string{
		"db=shop:a@b@tcp(db:3306)/x,c:d@tcp(db:3306)":                "db=tcp(db:3306)",
		`{"dsn":"a:b@tcp(h)/d","authorization": "Bearer x", "a": 1}`: `{"dsn":"…","authorization": "Bearer …", "a": 1}`,
		"Authorization: Bearer":                                      "Authorization: …",
		"path:src/a@b(c)":                                            "path:src/a@b(c)", "mail ann@x.example (office)": "mail ann@x.example (office)", "the authorization of cards": "the authorization of cards",
		"task_test_x": "task_test_x",
	} {
		if got := public(text); got != want || public(got) != got {
			t.Errorf("%s: got %s, then %s", text, got, public(got))
		}
	}
}

// The title of a link is no field's name.
func TestTitlesAreKept(t *testing.T) {
	records, _ := Backstage("f", []byte(`{apiVersion: backstage.io/v1alpha1, kind: Component, metadata: {name: a, links: [
		{url: "https://wiki.example/keys", title: API keys and how to get one}, {url: "https://wiki.example/rotate", title: Token rotation runbook}, {url: "https://x.example", title: Plain}]}}`))
	want := "kind Component|link https://wiki.example/keys|Plain https://x.example"
	var got []string
	for _, l := range records[0].Links {
		got = append(got, l.Name+" "+l.Target)
	}
	if strings.Join(got, "|") != want || records[0].Runbook != "https://wiki.example/rotate" {
		t.Errorf("got %q, runbook %q", got, records[0].Runbook)
	}
	writtenIsRead(t, records)
}
