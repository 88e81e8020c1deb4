package ownership

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestInquire(t *testing.T) {
	r := Compile(company(), settings)
	at := day(11, 21)
	for _, test := range []struct {
		what string
		i    Inquiry
		want string // of the JSON, without the trail
	}{
		{"a service, with its own runbook and its team's on-call", Inquiry{Service: "pay-svc"}, `{"about":"pay-svc","owner":"team-pay","owners":["ann"],"rule":"service",
			"why":"service payments, by owners.yaml:10","source":{"format":"whosehop","file":"owners.yaml","line":10},
			"charter":{"onCall":"pagerduty:PAY","chat":"#pay","runbook":"https://wiki/payments"},"at":"2026-11-21T00:00:00Z"}`},
		{"an operation: where to look is its service's, who is called is not", Inquiry{Service: "payments", Operation: "POST /refund"}, `{"about":"payments POST /refund","owner":"team-refunds","rule":"operation",
			"why":"operation payments POST /refund*, by owners.yaml:40","source":{"format":"whosehop","file":"owners.yaml","line":40},"charter":{"runbook":"https://wiki/payments"},"at":"2026-11-21T00:00:00Z"}`},
		{
			"namespace and environment from attributes",
			Inquiry{Service: "payments", Attributes: map[string]string{"service.namespace": "eu", "deployment.environment": "staging"}},
			`{"about":"payments","owner":"team-eu-qa","rule":"service","why":"service payments in namespace eu in stag*, by owners.yaml:13",
			"source":{"format":"whosehop","file":"owners.yaml","line":13},"charter":{"runbook":"https://wiki/payments"},"at":"2026-11-21T00:00:00Z"}`,
		},
		{"an attribute", Inquiry{Service: "x", Attributes: map[string]string{"team": "payments"}}, `{"about":"x","owner":"team-pay","rule":"attribute",
			"why":"the resource attribute team names team-pay","charter":{"onCall":"pagerduty:PAY","chat":"#pay","runbook":"https://wiki/pay-team"},"at":"2026-11-21T00:00:00Z"}`},
		{"code", Inquiry{CodePath: "src/pay/a.go"}, `{"about":"src/pay/a.go","owner":"team-pay","rule":"code path","why":"code /src/pay/, by CODEOWNERS:1",
			"source":{"format":"codeowners","file":"CODEOWNERS","line":1},"charter":{"onCall":"pagerduty:PAY","chat":"#pay","runbook":"https://wiki/pay-team"},"at":"2026-11-21T00:00:00Z"}`},
		{"a peer", Inquiry{Peer: "orders-db"}, `{"about":"orders-db","owner":"team-db","rule":"service","why":"datastore orders-db, by owners.yaml:30",
			"source":{"format":"whosehop","file":"owners.yaml","line":30},"charter":{},"at":"2026-11-21T00:00:00Z"}`},
		{
			"a peer by itself, in a namespace and an environment",
			Inquiry{Peer: "payments", Namespace: "eu", Attributes: map[string]string{"deployment.environment": "staging"}},
			`{"about":"payments","owner":"team-eu-qa","rule":"service","why":"service payments in namespace eu in stag*, by owners.yaml:13",
			"source":{"format":"whosehop","file":"owners.yaml","line":13},"charter":{"runbook":"https://wiki/payments"},"at":"2026-11-21T00:00:00Z"}`,
		},
		{"a peer as a service calls it that has a record of that", Inquiry{Service: "checkout", Peer: "orders-db"}, `{"about":"edge checkout->orders-db","owner":"team-check","rule":"edge",
			"why":"edge check*->*, by owners.yaml:53","source":{"format":"whosehop","file":"owners.yaml","line":53},"charter":{},"at":"2026-11-21T00:00:00Z"}`},
		{"and one that has none; what is known of the caller is not known of the peer", Inquiry{Service: "mail", Namespace: "eu", Peer: "payments"}, `{"about":"payments","owner":"team-pay","owners":["ann"],"rule":"service",
			"why":"service payments, by owners.yaml:10","source":{"format":"whosehop","file":"owners.yaml","line":10},
			"charter":{"onCall":"pagerduty:PAY","chat":"#pay","runbook":"https://wiki/payments"},"at":"2026-11-21T00:00:00Z"}`},
		{"an edge with an owner", Inquiry{Edge: "checkout->payments:pool"}, `{"about":"edge checkout->payments:pool","owner":"platform-net","rule":"edge",
			"why":"edge checkout->payments:pool, by owners.yaml:50","source":{"format":"whosehop","file":"owners.yaml","line":50},"charter":{},"at":"2026-11-21T00:00:00Z"}`},
		{"an edge whose side is written down", Inquiry{Edge: "payments -> kafka:queue"}, `{"about":"edge payments->kafka:queue","owner":"unowned","rule":"nobody","why":"nothing names an owner",
			"side":"callee","sideWhy":"edge *->kafka:queue, by owners.yaml:51","charter":{},"at":"2026-11-21T00:00:00Z"}`},
		{"an edge whose side goes by its phase", Inquiry{Edge: "payments->orders-db:pool"}, `{"about":"edge payments->orders-db:pool","owner":"team-pay","owners":["ann"],"rule":"service",
			"why":"service payments, by owners.yaml:10","source":{"format":"whosehop","file":"owners.yaml","line":10},"side":"caller","sideWhy":"a connection pool belongs to the caller",
			"charter":{"onCall":"pagerduty:PAY","chat":"#pay","runbook":"https://wiki/payments"},"at":"2026-11-21T00:00:00Z"}`},
		{"an edge that is for a trace to decide", Inquiry{Edge: "payments->orders.internal:5432:contract"}, `{"about":"edge payments->orders.internal:5432:contract","owner":"unowned","rule":"nobody",
			"why":"which side of the contract must act is for the facts of a trace to decide",
			"sides":[{"side":"caller","service":"payments","owner":"team-pay","why":"service payments, by owners.yaml:10"},
			{"side":"callee","service":"orders.internal:5432","owner":"team-db","why":"datastore orders-db, by owners.yaml:30"}],"charter":{},"at":"2026-11-21T00:00:00Z"}`},
		{"nobody", Inquiry{Service: "x"}, `{"about":"x","owner":"unowned","rule":"nobody","why":"nothing names an owner","charter":{},"at":"2026-11-21T00:00:00Z"}`},
	} {
		test.i.At = at
		got, err := r.Inquire(test.i)
		if err != nil {
			t.Errorf("%s: %v", test.what, err)
			continue
		}
		if len(got.Trail) == 0 || got.Trail[len(got.Trail)-1].Note == "" {
			t.Errorf("%s: no trail", test.what)
		}
		got.Trail = nil
		text, _ := json.Marshal(got)
		text = []byte(strings.ReplaceAll(string(text), `\u003e`, ">"))
		if want := strings.ReplaceAll(strings.ReplaceAll(test.want, "\n", ""), "\t", ""); string(text) != want {
			t.Errorf("%s:\n got %s\nwant %s", test.what, text, want)
		}
	}
}

func TestInquireRefuses(t *testing.T) {
	r := Compile(nil, settings)
	for want, i := range map[string]Inquiry{
		"nothing is asked for":     {},
		"an edge is asked for by":  {Edge: "a->b", Service: "a"},
		"an operation goes with":   {Edge: "a->b", Operation: "o"},
		`"poool" is no phase`:      {Edge: "a->b:poool"},
		`"a-b" is no edge`:         {Edge: "a-b"},
		`"->b" is no edge`:         {Edge: "->b"},
		`"a->:pool" is no edge`:    {Edge: "a->:pool"},
		`"a -> " is no edge`:       {Edge: "a -> "},
		"with a service alone":     {Peer: "p", Operation: "o"},
		"leave service and peer":   {Edge: "a->b", Peer: "b"},
		"name a service, a peer o": {Environment: "prod"},
	} {
		if _, err := r.Inquire(i); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", i, err)
		}
	}
	if got, err := r.Inquire(Inquiry{Service: "a"}); err != nil || got.At.IsZero() {
		t.Errorf("no time is now: %+v, %v", got, err)
	}
}

func TestSplitEdge(t *testing.T) {
	for text, want := range map[string][3]string{
		"a->b": {"a", "b", ""}, " a -> b:pool": {"a", "b", "pool"}, "a->db:5432": {"a", "db:5432", ""}, "a->db:5432:pool": {"a", "db:5432", "pool"},
		"a->arn:aws:sqs:q:": {"a", "arn:aws:sqs:q", ""}, "a->arn:aws:sqs:q:queue": {"a", "arn:aws:sqs:q", "queue"}, "a->b->c": {"a", "b->c", ""},
	} {
		if caller, callee, phase, err := SplitEdge(text); err != nil || caller != want[0] || callee != want[1] || phase != want[2] {
			t.Errorf("%q: %q, %q, %q, %v", text, caller, callee, phase, err)
		}
	}
}
