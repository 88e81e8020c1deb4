package rest_test

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/whosehop/whosehop/internal/openapitest"
	whosehopv1 "github.com/whosehop/whosehop/proto/whosehop/v1"
)

func document(t *testing.T) *openapitest.Document {
	t.Helper()
	text, err := os.ReadFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	d, err := openapitest.Load(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// questions are requests of every operation, errors among them.
var questions = []struct{ method, path, body string }{
	{"GET", "/api/v1/verdicts/" + settled, ""},
	{"GET", "/api/v1/verdicts/" + unsettled, ""},
	{"GET", "/api/v1/verdicts/" + settled + "?format=markdown", ""},
	{"GET", "/api/v1/verdicts/" + unknown, ""},
	{"GET", "/api/v1/verdicts/x", ""},
	{"GET", "/api/v1/verdicts/" + settled + "/why-not?service=b", ""},
	{"GET", "/api/v1/verdicts/" + settled + "/reviews", ""},
	{"POST", "/api/v1/verdicts/" + settled + "/reviews", `{"kind":"confirmed"}`},
	{"POST", "/api/v1/verdicts/" + settled + "/reviews", `{`},
	{"GET", "/api/v1/reviews", ""},
	{"GET", "/api/v1/reviews/summary", ""},
	{"GET", "/api/v1/verdicts?pageSize=2", ""},
	{"GET", "/api/v1/verdicts?pageSize=x", ""},
	{"GET", "/api/v1/now", ""},
	{"GET", "/api/v1/attribution", ""},
	{"GET", "/api/v1/report?owner=o", ""},
	{"GET", "/api/v1/map", ""},
	{"GET", "/api/v1/edge?caller=web&callee=x", ""},
	{"GET", "/api/v1/top?by=edge", ""},
	{"GET", "/api/v1/top?by=x", ""},
	{"GET", "/api/v1/rank", ""},
	{"GET", "/api/v1/openapi.json", ""},
	{"GET", "/api/v1/owners", ""},
	{"PUT", "/api/v1/owners?dryRun=true", `{"records":[{"kind":"service","name":"a","owner":"b"}]}`},
	{"PUT", "/api/v1/owners", `[]`},
	{"GET", "/api/v1/owners/handovers", ""},
	{"GET", "/api/v1/owners/coverage", ""},
	{"GET", "/api/v1/owners/resolve?service=payments&why=true", ""},
	{"GET", "/api/v1/owners/resolve?edge=a-%3Eb", ""},
	{"GET", "/api/v1/owners/resolve", ""},
}

// TestAnswersAreAsTheDocumentSays: no answer has more or less than the document tells of.
func TestAnswersAreAsTheDocumentSays(t *testing.T) {
	server, _ := serve(t, &fake{owners: registry()})
	away, _ := serve(t, &fake{owners: registry(), err: away{}})
	missing, _ := serve(t, &fake{owners: registry(), missing: []string{"shard 2"}})
	doc := document(t)
	asked := make(map[string]bool)
	for _, address := range []string{server.URL, away.URL, missing.URL} {
		for _, q := range questions {
			request, err := http.NewRequestWithContext(t.Context(), q.method, address+q.path, strings.NewReader(q.body))
			if err != nil {
				t.Fatal(err)
			}
			if q.body != "" {
				request.Header.Set("Content-Type", "application/json")
			}
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(response.Body)
			if err := doc.Check(request, response.StatusCode, response.Header, body); err != nil {
				t.Error(err)
			}
			if _, path, err := doc.Find(q.method, request.URL.Path); err == nil && response.StatusCode == http.StatusOK {
				asked[q.method+" "+path] = true
			}
		}
	}
	for path, methods := range doc.Paths {
		for method := range methods {
			if name := strings.ToUpper(method) + " " + path; !asked[name] {
				t.Errorf("%s was not answered", name)
			}
		}
	}
}

// TestRoutesAndDocumentAreTheSame: what is served is told of, and the other way around.
func TestRoutesAndDocumentAreTheSame(t *testing.T) {
	source, err := os.ReadFile("rest.go")
	if err != nil {
		t.Fatal(err)
	}
	var served, told []string
	for _, m := range regexp.MustCompile(`mux\.HandleFunc\("([A-Z]+ /[^"]*)"`).FindAllStringSubmatch(string(source), -1) {
		served = append(served, m[1])
	}
	for path, methods := range document(t).Paths {
		for method := range methods {
			told = append(told, strings.ToUpper(method)+" "+path)
		}
	}
	slices.Sort(served)
	slices.Sort(told)
	if !slices.Equal(served, told) || len(served) < 15 {
		t.Errorf("served: %v\ntold: %v", served, told)
	}
}

// TestEveryFieldIsDescribed: in the OpenAPI document and in the messages.
func TestEveryFieldIsDescribed(t *testing.T) {
	text, err := os.ReadFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var doc any
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	described := 0
	var walk func(value any, path string)
	walk = func(value any, path string) {
		switch value := value.(type) {
		case map[string]any:
			if properties, ok := value["properties"].(map[string]any); ok {
				for name, p := range properties {
					if p, ok := p.(map[string]any); !ok || p["description"] == nil {
						t.Errorf("%s: %s has no description", path, name)
					}
					described++
				}
			}
			if _, ok := value["in"]; ok && value["description"] == nil {
				t.Errorf("%s: the parameter %v has no description", path, value["name"])
			}
			for key, below := range value {
				walk(below, path+"/"+key)
			}
		case []any:
			for _, below := range value {
				walk(below, path)
			}
		}
	}
	walk(doc, "")
	if described < 200 {
		t.Errorf("only %d fields were looked at", described)
	}
	source, err := os.ReadFile("../../proto/whosehop/v1/whosehop.proto")
	if err != nil {
		t.Fatal(err)
	}
	message, before, field := "", "", regexp.MustCompile(`^  .* = \d+;`)
	for line := range strings.Lines(string(source)) {
		if name, ok := strings.CutPrefix(line, "message "); ok {
			message = name
		}
		if field.MatchString(line) && !strings.Contains(before, "//") {
			t.Errorf("message %s: no comment on %s", strings.TrimSpace(message), line)
		}
		before = line
	}
}

// renamed are operations that gRPC has as another question.
var renamed = map[string]string{"postReview": "ReviewVerdict", "listReviewsOfTrace": "ListReviews", "getOpenAPI": ""}

// TestEveryQuestionExistsBothWays: each operation is a method, with its parameters as fields, and the other way around.
func TestEveryQuestionExistsBothWays(t *testing.T) {
	// What is told otherwise: a time by its length, a body, a form of the answer that its reader makes.
	elsewhere := []string{"since", "format"}
	methods := whosehopv1.File_whosehop_v1_whosehop_proto.Services().ByName("Whosehop").Methods()
	left := make(map[protoreflect.Name]bool)
	for i := range methods.Len() {
		left[methods.Get(i).Name()] = true
	}
	for path, operations := range document(t).Paths {
		for _, operation := range operations {
			name, ok := renamed[operation.OperationID]
			if !ok {
				name = strings.ToUpper(operation.OperationID[:1]) + operation.OperationID[1:]
			}
			if name == "" {
				continue
			}
			method := methods.ByName(protoreflect.Name(name))
			if method == nil {
				t.Errorf("%s: gRPC has no %s", path, name)
				continue
			}
			delete(left, method.Name())
			for _, p := range operation.Parameters {
				field := p.Name
				if field == "attribute" {
					field = "attributes"
				}
				if method.Input().Fields().ByJSONName(field) == nil && !slices.Contains(elsewhere, field) {
					t.Errorf("%s has no field %s, which %s has as a parameter", method.Input().Name(), field, path)
				}
			}
		}
	}
	for name := range left {
		t.Errorf("REST has no %s", name)
	}
}

// TestBothWaysSayTheSame: the answers by REST, read as messages, are those by gRPC.
func TestBothWaysSayTheSame(t *testing.T) {
	server, client := serve(t, &fake{owners: registry(), missing: []string{"shard 2"}})
	// The window is given: it would end now.
	window := "from=2026-01-01T00:00:00Z&to=2026-01-01T01:00:00Z"
	for path, ask := range map[string]func() (proto.Message, error){
		"now": func() (proto.Message, error) {
			return client.GetNow(t.Context(), request(t, &whosehopv1.GetNowRequest{}))
		},
		"report?owner=o": func() (proto.Message, error) {
			return client.GetReport(t.Context(), request(t, &whosehopv1.GetReportRequest{Owner: "o"}))
		},
		"map": func() (proto.Message, error) {
			return client.GetMap(t.Context(), request(t, &whosehopv1.GetMapRequest{}))
		},
		"edge?caller=web&callee=x": func() (proto.Message, error) {
			return client.GetEdge(t.Context(), request(t, &whosehopv1.GetEdgeRequest{Caller: "web", Callee: "x"}))
		},
		"attribution": func() (proto.Message, error) {
			return client.GetAttribution(t.Context(), request(t, &whosehopv1.GetAttributionRequest{}))
		},
		"top?by=operation": func() (proto.Message, error) {
			return client.GetTop(t.Context(), request(t, &whosehopv1.GetTopRequest{By: "operation"}))
		},
	} {
		between := "?"
		if strings.Contains(path, "?") {
			between = "&"
		}
		code, _, body := get(t, server.URL+"/api/v1/"+path+between+window)
		byGRPC, err := ask()
		if code != http.StatusOK || err != nil {
			t.Errorf("%s: %d, %v", path, code, err)
			continue
		}
		byREST := byGRPC.ProtoReflect().New().Interface()
		if err := protojson.Unmarshal([]byte(body), byREST); err != nil {
			t.Errorf("%s: %v in %s", path, err, body)
		}
		if !proto.Equal(byREST, byGRPC) {
			t.Errorf("%s:\nREST %v\ngRPC %v", path, byREST, byGRPC)
		}
	}
}

// request sets the window of a request.
func request[M proto.Message](t *testing.T, r M) M {
	t.Helper()
	window := r.ProtoReflect().New().Interface()
	if err := protojson.Unmarshal([]byte(`{"from":"2026-01-01T00:00:00Z","to":"2026-01-01T01:00:00Z"}`), window); err != nil {
		t.Fatal(err)
	}
	proto.Merge(r, window)
	return r
}
