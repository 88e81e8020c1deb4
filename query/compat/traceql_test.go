package compat

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/whosehop/whosehop/query"
	"github.com/whosehop/whosehop/storage"
)

// ops as people write them.
var ops = map[storage.Op]string{
	storage.OpEqual: "=", storage.OpNotEqual: "!=", storage.OpMatch: "=~", storage.OpNotMatch: "!~", storage.OpLess: "<", storage.OpLessOrEqual: "<=",
	storage.OpGreater: ">", storage.OpGreaterOrEqual: ">=", storage.OpExists: "exists", storage.OpMissing: "missing",
}

var fieldNames = map[storage.Field]string{
	storage.FieldService: "service", storage.FieldName: "name", storage.FieldKind: "kind", storage.FieldStatus: "status", storage.FieldStatusMessage: "message",
	storage.FieldDuration: "duration", storage.FieldAttribute: "any.", storage.FieldSpanAttribute: "span.", storage.FieldResourceAttribute: "resource.",
	storage.FieldEventName: "event", storage.FieldEventAttribute: "event.", storage.FieldScopeName: "scope", storage.FieldTraceID: "trace", storage.FieldParentID: "parent",
	storage.FieldTraceService: "root service", storage.FieldTraceName: "root name", storage.FieldTraceDuration: "root duration",
}

// told is a condition as a text.
func told(m *storage.Match) string {
	join := func(list []storage.Match, by string) string {
		parts := make([]string, len(list))
		for i := range list {
			parts[i] = told(&list[i])
		}
		return "(" + strings.Join(parts, by) + ")"
	}
	switch {
	case len(m.All) > 0:
		return join(m.All, " and ")
	case len(m.Any) > 0:
		return join(m.Any, " or ")
	case m.Field == storage.FieldNone:
		return "all"
	}
	return strings.TrimSpace(fmt.Sprintf("%s%s %s %s", fieldNames[m.Field], m.Key, ops[m.Op], strings.Join(m.Values, ", ")))
}

func TestTraceQL(t *testing.T) {
	for _, c := range []struct{ query, want, named string }{
		// What Grafana's search builder writes (public/app/plugins/datasource/tempo/SearchTraceQLEditor/utils.ts, language_provider.ts).
		{`{}`, "all", ""},
		{``, "all", ""},
		{`{resource.service.name="web"}`, "service = web", "service.name"},
		{`{resource.service.name=~"web|pay-1"}`, "service = web, pay-1", "service.name"},
		{`{resource.service.name!~"web|pay"}`, "service != web, pay", "service.name"},
		{
			`{resource.service.name="x" && name="GET /" && status=error && duration>100ms && span.http.status_code=500 && kind=server && .foo=~"re.*"}`,
			"(service = x and name = GET / and status = error and duration > 100000000 and span.http.status_code = 500 and kind = server and any.foo =~ re.*)",
			"service.name status http.status_code kind foo",
		},
		{`{status=~"error|ok"}`, "status = error, ok", "status"},
		{`{(status=error || status=unset) && kind!=client}`, "((status = error or status = unset) and kind != client)", "status kind"},
		{`{traceDuration>=1.5s && duration<=1d}`, "(root duration >= 1500000000 and duration <= 86400000000000)", ""},
		{`{rootServiceName="web" && rootName="GET /"}`, "(root service = web and root name = GET /)", ""},
		{`{span."my key"="a \"b\" c"}`, `span.my key = a "b" c`, "my key"},
		{`{nestedSetParent<0 && true}`, "(parent missing and all)", ""},
		{`{.n>5 && .n<=-2.5 && .x="5"}`, "(any.n > 5 and any.n <= -2.5 and any.x = 5)", "n x"},
		{`{true} | select(span.http.route, resource.k8s."pod name", status, name)`, "all", "http.route k8s.pod name status"},
		// More of the language.
		{" { .a = 1 || .b = `x\\y` && .c != false }\n", `(any.a = 1 or (any.b = x\y and any.c != false))`, "a b c"},
		{`{"web" = resource.service.name && 100ms < duration}`, "(service = web and duration > 100000000)", "service.name"},
		{`{span.a != nil && .b = nil}`, "(span.a exists and any.b missing)", "a b"},
		{`{.x = 0.50}`, "(any.x >= 0.5 and any.x <= 0.5)", "x"},
		{`{.x != 1.5 && .y = 1e3}`, "((any.x < 1.5 or any.x > 1.5) and any.y = 1000)", "x y"},
		{`{event:name="exception" && event.exception.type="Boom" && instrumentation:name="otelhttp"}`, "(event = exception and event.exception.type = Boom and scope = otelhttp)", "event:name instrumentation:name"},
		{`{.service.name="web" && span.service.name="x"}`, "(service = web and span.service.name = x)", "service.name"},
		{`{name=~"GET /a\\.b|x"}`, "name = GET /a.b, x", ""},
		{`{trace:id="00000000000000000000000000000001"}`, "trace = 00000000000000000000000000000001", ""},
		{`{.état="gelöscht" && ."日 本"="語"}`, "(any.état = gelöscht and any.日 本 = 語)", "état 日 本"},
	} {
		got, err := parseTraceQL(c.query)
		if err != nil {
			t.Errorf("%s: %v", c.query, err)
			continue
		}
		var named []string
		for _, n := range got.named {
			if len(named) == 0 || named[len(named)-1] != n.name {
				named = append(named, n.name)
			}
		}
		if told(&got.match) != c.want || strings.Join(named, " ") != c.named {
			t.Errorf("%s:\n got %s; %s\nwant %s; %s", c.query, told(&got.match), strings.Join(named, " "), c.want, c.named)
		}
	}
}

func TestTraceQLRefuses(t *testing.T) {
	for text, want := range map[string]string{
		`foo`:                                   "begin with {",
		`{`:                                     "no field",
		`{} && {}`:                              "only one {…}",
		`{} || {}`:                              "only one {…}",
		`{} >> {}`:                              "only one {…}",
		`{.a=1} | count() > 2`:                  `"count"`,
		`{.a=1} | rate()`:                       `"rate"`,
		`{} | select()`:                         "no field",
		`{} | select(nestedSetParent)`:          "cannot be selected",
		`{} | select(name`:                      "expected , or )",
		`{resource.service.name=article}`:       "expected a value",
		`{service.name="x"}`:                    "attributes are written",
		`{.a}`:                                  "expected a comparison",
		`{5}`:                                   "stands alone",
		`{!(.a=1)}`:                             "turn the comparison around",
		`{.a=1 .b=2}`:                           "expected && or || or }",
		`{(.a=1}`:                               "expected && or || or )",
		`{.a="x}`:                               "does not end",
		`{.a="\q"}`:                             "not a text",
		`{.a=~"("}`:                             "not a regular expression",
		`{.a=~5}`:                               "stands in quotes",
		`{.a<"x"}`:                              "only numbers",
		`{.a<nil}`:                              "by = and != alone",
		`{name=nil && status=nil}`:              "every span has a status",
		`{duration="x"}`:                        "a duration, like 100ms",
		`{duration>12parsecs}`:                  "neither a number nor a duration",
		`{kind=error}`:                          "client, consumer, internal",
		`{kind>server}`:                         "not less or greater",
		`{status="broken"}`:                     "error, ok, unset",
		`{nestedSetParent<5}`:                   "only < 0",
		`{parent.foo="x"}`:                      "no field",
		`{childCount>1}`:                        "no field",
		`{.=1}`:                                 "key of an attribute",
		strings.Repeat("(", 9000):               "bytes",
		"{" + strings.Repeat("(", 30) + ".a=1}": "parentheses in each other",
		"{" + strings.Repeat(".a=1||", 70) + "1}":   "comparisons",
		`{.a=~"` + strings.Repeat("x", 2000) + `"}`: "regular expression of",
		`{.a=NaN}`: "expected a value",
	} {
		_, err := parseTraceQL(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v, want %q", text, err, want)
		}
		if err != nil && !errors.Is(err, query.ErrInvalid) {
			t.Errorf("%.60s: the error is not of the question: %v", text, err)
		}
	}
}

// FuzzTraceQL: whatever is asked, it is understood or refused, and what is understood keeps within the limits.
func FuzzTraceQL(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{resource.service.name="web" && status=error || duration>1.5s} | select(span."a b")`, `{(.a=~"x|y" || nil != .b) && -5 < .n}`, "{`x`=name}",
		`{nestedSetParent<0}`, `{."\u00e9"="\\"}`, `{kind=~"server|client"`, `{{`, `{.a=9223372036854775808 && .b=1e999}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseTraceQL(text)
		if err != nil {
			if !errors.Is(err, query.ErrInvalid) {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		count := 0
		var walk func(m *storage.Match, depth int)
		walk = func(m *storage.Match, depth int) {
			if depth > 2*depthMax+3 {
				t.Fatalf("%q: too deep", text)
			}
			for i := range m.All {
				walk(&m.All[i], depth+1)
			}
			for i := range m.Any {
				walk(&m.Any[i], depth+1)
			}
			if len(m.All)+len(m.Any) == 0 {
				count++
				if m.Field == fieldRoot || m.Field != storage.FieldNone && len(m.Values) == 0 && m.Op != storage.OpExists && m.Op != storage.OpMissing {
					t.Fatalf("%q: nobody can look for %+v", text, m)
				}
			}
		}
		walk(&got.match, 0)
		if count > 2*comparisonsMax || len(got.named) > namedMax {
			t.Fatalf("%q: %d comparisons, %d fields", text, count, len(got.named))
		}
	})
}
