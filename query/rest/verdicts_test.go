package rest_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	whosehopv1 "github.com/whosehop/whosehop/proto/whosehop/v1"
	"github.com/whosehop/whosehop/query/rest"
)

func post(t *testing.T, address, kind, origin, body string) (int, string) {
	t.Helper()
	request, err := http.NewRequest(http.MethodPost, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", kind)
	if origin != "" {
		request.Header.Set("Origin", origin)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

func TestReviews(t *testing.T) {
	f := &fake{}
	server, client := serve(t, f)
	address := server.URL + "/api/v1/verdicts/" + settled + "/reviews"
	const confirm = `{"kind":"confirmed","by":"anna"}`
	for name, c := range map[string]struct {
		kind, origin, body string
		code               int
		want               string
	}{
		"confirmed":           {"application/json", "", confirm, 200, `"kind":"confirmed","by":"anna","version":3`},
		"contested":           {"application/json; charset=utf-8", "", `{"kind":"contested","why":" not ours "}`, 200, `"why":"not ours"`},
		"without a reason":    {"application/json", "", `{"kind":"contested","why":" "}`, 400, "say why"},
		"neither":             {"application/json", "", `{"kind":"maybe"}`, 400, "neither"},
		"an entry of nothing": {"application/json", "", `{"kind":"confirmed","entrySpanId":"77"}`, 400, "name one of the trace's entries"},
		"a name too long":     {"application/json", "", `{"kind":"confirmed","by":"` + strings.Repeat("x", 101) + `"}`, 400, "100 bytes at most"},
		"unknown field":       {"application/json", "", `{"kind":"confirmed","who":"anna"}`, 400, "who"},
		"more behind":         {"application/json", "", confirm + confirm, 400, "follows"},
		"too large":           {"application/json", "", `{"why":"` + strings.Repeat("x", 20_000) + `"}`, 413, "16384 bytes"},
		"a form":              {"application/x-www-form-urlencoded", "", "kind=confirmed", 415, "application/json"},
		"a browser's page":    {"application/json", "http://127.0.0.1", confirm, 403, "browsers"},
	} {
		if code, body := post(t, address, c.kind, c.origin, c.body); code != c.code || !strings.Contains(body, c.want) {
			t.Errorf("%s: %d %s", name, code, body)
		}
	}
	if len(f.reviews) != 2 || f.reviews[0].Summary == "" {
		t.Errorf("%+v are kept", f.reviews)
	}
	if code, body := post(t, server.URL+"/api/v1/verdicts/xyz/reviews", "application/json", "", confirm); code != 400 {
		t.Errorf("%d %s", code, body)
	}

	var page rest.Reviews
	_, _, body := get(t, server.URL+"/api/v1/reviews?pageSize=1")
	if err := json.Unmarshal([]byte(body), &page); err != nil || len(page.Reviews) != 1 || page.NextPageToken == "" {
		t.Fatalf("%v %s", err, body)
	}
	for seen := 1; ; seen++ {
		_, _, body := get(t, server.URL+"/api/v1/reviews?pageSize=1&pageToken="+page.NextPageToken)
		page = rest.Reviews{}
		if err := json.Unmarshal([]byte(body), &page); err != nil || len(page.Reviews) != 1 {
			t.Fatalf("%v %s", err, body)
		}
		if page.NextPageToken == "" {
			if seen != 2 {
				t.Errorf("%d pages follow the first", seen)
			}
			break
		}
	}
	for address, want := range map[string]string{"kind=maybe": "neither", "pageToken=x": "not one of ours", "from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z": "before"} {
		if code, _, body := get(t, server.URL+"/api/v1/reviews?"+address); code != 400 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", address, code, body)
		}
	}
	_, _, body = get(t, server.URL+"/api/v1/reviews/summary")
	for _, want := range []string{`"all":{"confirmed":3,"contested":5,"confirmedShare":0.375}`, `{"rule":"self-error","confirmed":3,"contested":1,"confirmedShare":0.75}`, `{"rule":"dns","confirmed":0,"contested":4,"confirmedShare":0}`} {
		if !strings.Contains(body, want) {
			t.Errorf("%s is not in %s", want, body)
		}
	}

	kept, err := client.ReviewVerdict(t.Context(), &whosehopv1.ReviewVerdictRequest{TraceId: settled, Kind: "confirmed", By: "bert"})
	if err != nil || kept.GetReview().GetBy() != "bert" || f.reviews[0].Author != "bert" {
		t.Errorf("%v, %v", kept, err)
	}
	list, err := client.ListReviews(t.Context(), &whosehopv1.ListReviewsRequest{TraceId: settled, PageSize: 2})
	if err != nil || len(list.GetReviews()) != 2 || list.GetNextPageToken() == "" {
		t.Errorf("%v, %v", list, err)
	}
	sum, err := client.GetReviewSummary(t.Context(), &whosehopv1.GetReviewSummaryRequest{})
	if err != nil || sum.GetAll().GetConfirmedShare() != 0.375 || len(sum.GetRules()) != 2 {
		t.Errorf("%v, %v", sum, err)
	}
}

func TestWhyNotAndMarkdown(t *testing.T) {
	server, client := serve(t, &fake{})
	address := server.URL + "/api/v1/verdicts/" + settled
	code, _, body := get(t, address+"/why-not?service=b")
	if code != 200 || !strings.Contains(body, `"blamed":true`) || !strings.Contains(body, "it is no call of b") {
		t.Errorf("%d %s", code, body)
	}
	for query, want := range map[string]string{"service=z": "those that have: b", "": "name the service", "service=b&x=1": "no parameter"} {
		if code, _, body := get(t, address+"/why-not?"+query); code != 400 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", query, code, body)
		}
	}
	got, err := client.GetWhyNot(t.Context(), &whosehopv1.GetWhyNotRequest{TraceId: settled, Service: "b"})
	if err != nil || len(got.GetAnswerJson()) != 1 || !strings.Contains(body, got.GetAnswerJson()[0]) {
		t.Errorf("%v, %v", got, err)
	}
	code, header, body := get(t, address+"?format=markdown")
	if code != 200 || header.Get("Content-Type") != "text/markdown; charset=utf-8" || !strings.HasPrefix(body, `**a -> b \<broke>**`) {
		t.Errorf("%d %v %s", code, header, body)
	}
	if code, _, body := get(t, address+"?format=pdf"); code != 400 || !strings.Contains(body, "json or markdown") {
		t.Errorf("%d %s", code, body)
	}
}
