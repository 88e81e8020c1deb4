package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/whosehop/whosehop/query"
)

const (
	settledID = "4bf92f3577b34da6a3ce929d0e0e4736"
	absentID  = "00000000000000000000000000000001"
)

// standIn answers as a query server does.
func standIn(t *testing.T) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/verdicts/"+settledID, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("format") == "markdown" {
			_, _ = w.Write([]byte("**pay broke it.**\n"))
			return
		}
		for _, service := range []string{"cart", "pay"} {
			_, _ = w.Write([]byte(`{"traceId":"` + settledID + `","rules":"1","version":1,"entry":{"service":"web","operation":"GET /","spanId":"00f067aa0ba902b7",` +
				`"start":"2026-11-20T10:00:00.000000000Z","durationNs":5},"symptom":"error","shares":[{"site":{"kind":"service","service":"` + service + `"},` +
				`"accountable":"` + service + `","owner":"team","weight":1,"excessNs":0,"confidence":0.9,"rule":"self-error","spanIds":[],"evidence":["<it> said 500"]}],` +
				`"hops":[],"completeness":1,"summary":"` + service + ` broke it."}` + "\n"))
		}
	})
	mux.HandleFunc("GET /api/v1/verdicts/"+absentID, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte(`{"detail":"no span of this trace is stored"}`))
	})
	mux.HandleFunc("GET /api/v1/verdicts/"+settledID+"/why-not", func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(`{"answers":[{"service":"` + r.URL.Query().Get("service") + `","answer":["cart is not to blame.","It <came> second."],"tried":[{"spanId":"01","of":"cart GET /","rule":"dns","why":"it is no call"}]}]}`))
	})
	mux.HandleFunc("POST /api/v1/verdicts/"+settledID+"/reviews", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, `{"kind":"kept","summary":%q}`, body)
	})
	mux.HandleFunc("GET /api/v1/reviews/summary", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"all":{"confirmed":3,"contested":1,"confirmedShare":0.75},"rules":[{"rule":"self-error","confirmed":3,"contested":1,"confirmedShare":0.75}]}`))
	})
	mux.HandleFunc("GET /api/v1/reviews", func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, `{"reviews":[{"traceId":"`+settledID+`","at":"2026-11-20T10:00:00Z","kind":"contested","by":"anna","why":"not\u001b[2Jours","summary":%q}]}`, r.URL.RawQuery)
	})
	mux.HandleFunc("GET /api/v1/top", func(w http.ResponseWriter, r *http.Request) {
		if q := r.URL.Query(); q.Get("since") != "30m0s" || q.Get("by") != "edge" || q.Get("limit") != "20" {
			http.Error(w, "asked for "+r.URL.RawQuery, http.StatusBadRequest)
			return
		}
		_, _ = w.Write([]byte(`{"top":[{"name":"cart->pay (budget)","owner":"team-cart","rule":"budget","exemplar":"` + settledID + `","caused":7}]}`))
	})
	server := httptest.NewServer(requireToken(mux, "secret"))
	t.Cleanup(server.Close)
	return server.URL
}

func TestAskServer(t *testing.T) {
	at := standIn(t)
	for _, test := range []struct {
		args     []string
		code     int
		out, err string // parts of it
	}{
		{[]string{"blame", settledID, "--token", "secret"}, 0, "cart broke it.", ""},
		{[]string{"blame", settledID, "--token", "secret"}, 0, "pay broke it.", ""},
		{[]string{"blame", strings.ToUpper(settledID), "--token", "secret"}, 1, "", "404"},
		{[]string{"blame", settledID, "--token", "secret", "-o", "json"}, 0, `"evidence":["<it> said 500"]`, ""},
		{[]string{"blame", absentID, "--token", "secret"}, 1, "", "says 404: no span of this trace is stored"},
		{[]string{"blame", settledID}, 1, "", "says 401: send the token"},
		{[]string{"blame", settledID, "--token", "secret", "-o", "markdown"}, 0, "**pay broke it.**\n", ""},
		{[]string{"blame", settledID, "--token", "secret", "--why-not", "cart"}, 0, "cart is not to blame.\n", ""},
		{[]string{"blame", settledID, "--token", "secret", "--why-not", "cart"}, 0, "  - dns             it is no call\n", ""},
		{[]string{"blame", settledID, "--token", "secret", "--why-not", "cart", "-o", "json"}, 0, `"answer":["cart is not to blame.","It <came> second."]`, ""},
		{[]string{"confirm", settledID, "--token", "secret", "--by", "anna"}, 0, `kept: {"kind":"confirmed","by":"anna"}`, ""},
		{[]string{"contest", settledID, "--token", "secret", "--entry", "0a", "--by", "anna", "--why", "not ours"}, 0, `kept: {"entrySpanId":"0a","kind":"contested","by":"anna","why":"not ours"}`, ""},
		{[]string{"contest", settledID, "--token", "secret"}, 2, "", "--why"},
		{[]string{"contest", "xyz", "--why", "x", "--token", "secret"}, 2, "", "32 hexadecimal digits"},
		{[]string{"confirm", absentID, "--token", "secret"}, 1, "", "404"},
		{[]string{"reviews", "--token", "secret", "--rule", "dns"}, 0, "self-error          3          1  75 %\nall                 3          1  75 %\n", ""},
		{[]string{"reviews", "--token", "secret", "--rule", "dns"}, 0, "contested by anna: not [2Jours\n  pageSize=20&rule=dns&since=720h0m0s\n", ""},
		{[]string{"reviews", "--token", "secret", "-o", "json", "--limit", "0"}, 0, `"reviews":[]}`, ""},
		{[]string{"reviews", "--token", "secret", "--kind", "maybe"}, 2, "", "neither"},
		{[]string{"top", "--since", "30m", "--by", "edge", "--token", "secret"}, 0, "cart->pay (budget)", ""},
		{[]string{"top", "--since", "30m", "--by", "edge", "--token", "secret", "-o", "json"}, 0, `"caused":7`, ""},
		{[]string{"top", "--token", "secret"}, 1, "", "says 400: asked for"},
	} {
		var out, errOut strings.Builder
		code := run(t.Context(), append(test.args, "--server", at+"/"), strings.NewReader(""), &out, &errOut)
		if code != test.code || !strings.Contains(out.String(), test.out) || !strings.Contains(errOut.String(), test.err) {
			t.Errorf("%q: code %d\nout: %s\nerr: %s", test.args, code, out.String(), errOut.String())
		}
		if (test.err == "") != (errOut.Len() == 0) {
			t.Errorf("%q: stderr: %s", test.args, errOut.String())
		}
	}
}

func TestRequireToken(t *testing.T) {
	guarded := requireToken(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }), "secret")
	for name, test := range map[string]struct {
		set  func(*http.Request)
		want int
	}{
		"none":           {func(*http.Request) {}, http.StatusUnauthorized},
		"bearer":         {func(r *http.Request) { r.Header.Set("Authorization", "Bearer secret") }, http.StatusNoContent},
		"wrong bearer":   {func(r *http.Request) { r.Header.Set("Authorization", "Bearer secrets") }, http.StatusUnauthorized},
		"empty bearer":   {func(r *http.Request) { r.Header.Set("Authorization", "Bearer ") }, http.StatusUnauthorized},
		"password":       {func(r *http.Request) { r.SetBasicAuth("anybody", "secret") }, http.StatusNoContent},
		"wrong password": {func(r *http.Request) { r.SetBasicAuth("secret", "") }, http.StatusUnauthorized},
	} {
		request := httptest.NewRequest(http.MethodGet, "/", nil)
		test.set(request)
		recorder := httptest.NewRecorder()
		guarded.ServeHTTP(recorder, request)
		if recorder.Code != test.want {
			t.Errorf("%s: %d, want %d", name, recorder.Code, test.want)
		}
		if recorder.Code == http.StatusUnauthorized && recorder.Header().Get("WWW-Authenticate") == "" {
			t.Errorf("%s: a browser is not told how to ask for the token", name)
		}
	}
}

// A program that is stopped while it starts has done what it was told, whatever that broke off.
func TestEndedWhileStarting(t *testing.T) {
	dir := t.TempDir()
	up := []string{"up", "--storage-dir", dir, "--storage-engine", dir + "/no-such-library.so"}
	var errOut strings.Builder
	if code := run(t.Context(), up, strings.NewReader(""), io.Discard, &errOut); code != 1 || !strings.Contains(errOut.String(), "storage.engine") {
		t.Errorf("no engine: code %d: %s", code, errOut.String())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	errOut.Reset()
	if code := run(ctx, up, strings.NewReader(""), io.Discard, &errOut); code != 0 || errOut.Len() > 0 {
		t.Errorf("ended meanwhile: code %d: %s", code, errOut.String())
	}
}

func TestParseInstant(t *testing.T) {
	for text, want := range map[string]string{
		"2026-11-03":                     "2026-11-03T00:00:00Z",
		"2026-11-03T12:00:00.000000001Z": "2026-11-03T12:00:00.000000001Z",
		"2026-11-03T12:00:00+01:00":      "2026-11-03T11:00:00Z",
		"1999-12-31":                     "1999-12-31T00:00:00Z",
		"1763683200000000001":            "2025-11-21T00:00:00.000000001Z",
		"946684800000000000":             "2000-01-01T00:00:00Z",
		"1763683200":                     "before 2000",
		"20261001":                       "before 2000",
		"0":                              "before 2000",
		"-1":                             "before 2000",
		"17636832xyz":                    "neither RFC 3339 nor Unix nanoseconds",
		"99999999999999999999":           "neither RFC 3339 nor Unix nanoseconds",
		"2026-13-03":                     "neither RFC 3339 nor Unix nanoseconds",
		"":                               "neither RFC 3339 nor Unix nanoseconds",
		"2500-01-01":                     "is not between 1678 and 2261",
	} {
		ns, err := query.ParseInstant(text)
		switch {
		case err != nil && !strings.Contains(err.Error(), want):
			t.Errorf("%q: %v, want %s", text, err, want)
		case err == nil && time.Unix(0, ns).UTC().Format(time.RFC3339Nano) != want:
			t.Errorf("%q: %d, want %s", text, ns, want)
		}
	}
}
