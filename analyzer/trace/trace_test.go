package trace_test

import (
	"strings"
	"testing"

	"github.com/whosehop/whosehop/analyzer/trace"
	"github.com/whosehop/whosehop/internal/tracescript"
	"github.com/whosehop/whosehop/storage/spans"
	"github.com/whosehop/whosehop/verdict"
)

func build(t *testing.T, script string, limit int) *trace.Forest {
	t.Helper()
	list, err := tracescript.Parse(script)
	if err != nil {
		t.Fatal(err)
	}
	b := tracescript.Block(list, spans.TraceID{1})
	rows := make([]uint32, b.Len())
	for i := range rows {
		rows[i] = uint32(i)
	}
	return trace.Build(b, rows, limit)
}

// shape draws a forest: service and name, children in brackets, phantoms as ?.
func shape(f *trace.Forest) string {
	var entries []string
	for _, e := range f.Entries {
		entries = append(entries, draw(f, e))
	}
	return strings.Join(entries, " | ")
}

func draw(f *trace.Forest, i int32) string {
	n := &f.Nodes[i]
	text := f.ServiceOf(i).Name + "." + n.Name
	if n.Phantom() {
		text = f.ServiceOf(i).Name + ".?"
	}
	if n.Async {
		text = "~" + text
	}
	var children []string
	for c := n.FirstChild; c != trace.None; c = f.Nodes[c].NextSib {
		children = append(children, draw(f, c))
	}
	if len(children) > 0 {
		text += "(" + strings.Join(children, " ") + ")"
	}
	return text
}

func TestAssembly(t *testing.T) {
	for name, test := range map[string]struct{ script, want string }{
		"a call": {"a SERVER r 0..9\n  a CLIENT c 1..8\n    b SERVER s 2..7", "a.r(a.c(b.s))"},
		"sent twice": {
			"a SERVER r 0..9 id=1\na CLIENT c 1..8 id=2 parent=1\na CLIENT c 1..8 id=2 parent=1", "a.r(a.c)",
		},
		"shared ids": {
			"a SERVER r 0..9 id=1\na CLIENT c 1..8 id=2 parent=1\nb SERVER c 2..7 id=2 parent=1\na INTERNAL mine 1..2 id=3 parent=2\nb INTERNAL its 3..4 id=4 parent=2",
			"a.r(a.c(a.mine b.c(b.its)))",
		},
		"its own parent":  {"a SERVER r 0..9 id=1 parent=1\na CLIENT c 1..8 id=2 parent=1", "a.r(a.c)"},
		"a circle":        {"a SERVER r 0..9 id=1 parent=3\na CLIENT c 1..8 id=2 parent=1\nb SERVER s 2..7 id=3 parent=2", "a.r(a.c(b.s))"},
		"two fragments":   {"a SERVER r 0..9 parent=77\nb SERVER s 20..30 parent=78", "a.r | b.s"},
		"a lost parent":   {"b CLIENT one 2..3 parent=77\nb CLIENT two 4..5 parent=77", "b.?(b.one b.two)"},
		"a lost server":   {"a SERVER r 0..9\n  a CLIENT c 1..8 error @b\n    b SERVER s 2..7 lost\n      b CLIENT q 3..4", "a.r(a.c(b.?(b.q)))"},
		"not its server":  {"a SERVER r 0..9\n  a CLIENT c 1..8 error @other\n    b SERVER s 2..7 lost\n      b CLIENT q 3..4", "a.r(a.c) | b.q"},
		"asynchronous":    {"a SERVER r 0..9\n  a INTERNAL late 20..30\n  a PRODUCER p 1..2\n    b CONSUMER c 50..60", "a.r(a.p(~b.c) ~a.late)"},
		"no service name": {"- SERVER r 0..9", "-.r"},
	} {
		if got := shape(build(t, test.script, 0)); got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
}

func TestLimitKeepsTheEarliest(t *testing.T) {
	f := build(t, "a SERVER r 0..9\n  a CLIENT c 1..8\n    b SERVER s 2..7", 2)
	if got := shape(f); got != "a.r(a.c)" || f.LeftOut != 1 || f.Completeness(0) >= 1 {
		t.Errorf("%s, %d left out, %v complete", got, f.LeftOut, f.Completeness(0))
	}
}

func TestTimesThatCannotBe(t *testing.T) {
	f := build(t, "a SERVER backwards 10..5\na SERVER days 0..200000000\na SERVER good 0..5", 0)
	for i := range f.Nodes {
		n := &f.Nodes[i]
		if n.NoDuration != (n.Name != "good") || n.EndNs < n.StartNs {
			t.Errorf("%s: %+v", n.Name, n)
		}
	}
}

func TestOutcomes(t *testing.T) {
	for line, want := range map[string]struct {
		level trace.Level
		class verdict.Class
	}{
		"a SERVER x 0..1 200":                                                              {trace.OK, ""},
		"a SERVER x 0..1 http.status_code=500":                                             {trace.Fail, verdict.ClassInternal},
		"a SERVER x 0..1 404":                                                              {trace.Soft, verdict.ClassNotFound},
		"a CLIENT x 0..1 404":                                                              {trace.Soft, verdict.ClassNotFound},
		"a CLIENT x 0..1 429":                                                              {trace.Fail, verdict.ClassOverload},
		"a CLIENT x 0..1 502":                                                              {trace.Fail, verdict.ClassBadGateway},
		"a CLIENT x 0..1 200 error":                                                        {trace.Fail, verdict.ClassApp},
		"a SERVER x 0..1 grpc=INVALID_ARGUMENT":                                            {trace.Soft, verdict.ClassBadRequest},
		"a SERVER x 0..1 rpc.response.status_code=ABORTED":                                 {trace.Soft, verdict.ClassConflict},
		"a CLIENT x 0..1 grpc=DEADLINE_EXCEEDED":                                           {trace.Fail, verdict.ClassTimeout},
		"a CLIENT x 0..1 grpc=CANCELLED":                                                   {trace.Soft, verdict.ClassCancelled},
		"a CLIENT x 0..1 grpc=UNAVAILABLE \"exc=E: connection refused\"":                   {trace.Fail, verdict.ClassRefused},
		"a CLIENT x 0..1 error error.type=ECONNRESET":                                      {trace.Fail, verdict.ClassReset},
		"a CLIENT x 0..1 error \"exc=*url.Error: Post http://b: EOF\"":                     {trace.Fail, verdict.ClassReset},
		"a CLIENT x 0..1 error error.type=UnknownHostException":                            {trace.Fail, verdict.ClassDNS},
		"a CLIENT x 0..1 error \"exc=E: x509: certificate has expired\"":                   {trace.Fail, verdict.ClassTLS},
		"a CLIENT x 0..1 error error.type=CallNotPermittedException":                       {trace.Fail, verdict.ClassBreaker},
		"a CLIENT x 0..1 error \"error.type=context canceled\"":                            {trace.Soft, verdict.ClassCancelled},
		"a CLIENT x 0..1 503 response_flags=UO":                                            {trace.Fail, verdict.ClassBreaker},
		"a CLIENT x 0..1 error error.type=503":                                             {trace.Fail, verdict.ClassUnavailable},
		"a CLIENT x 0..1 error db.system=mysql db.response.status_code=1213":               {trace.Fail, verdict.ClassConflict},
		"a CLIENT x 0..1 error db.system=postgresql error.type=42P01":                      {trace.Fail, verdict.ClassBadRequest},
		"a CLIENT x 0..1 error db.system=postgresql \"exc=E: ERROR: no (SQLSTATE 53300)\"": {trace.Fail, verdict.ClassOverload},
		"a INTERNAL x 0..1 error":                                                          {trace.Fail, verdict.ClassApp},
		"a INTERNAL x 0..1 exc=Handled":                                                    {trace.OK, ""},
		"a CLIENT x 0..1 http.response.status_code=200 http.status_code=500":               {trace.OK, ""},
	} {
		if got := build(t, line, 0).Nodes[0].Outcome; got.Level != want.level || got.Class != want.class {
			t.Errorf("%s: %+v, want %+v", line, got, want)
		}
	}
}

func TestPeers(t *testing.T) {
	for line, want := range map[string]string{
		"a CLIENT x 0..1 @b:8080 peer.service=old service.peer.name=new":             "new",
		"a CLIENT x 0..1 @pg db.system=postgresql db.name=shop":                      "postgresql shop pg",
		"a PRODUCER x 0..1 messaging.system=kafka messaging.destination.name=orders": "kafka orders",
		"a CLIENT x 0..1 rpc.method=shop.Cart/Get":                                   "shop.Cart",
		"a CLIENT x 0..1 http.url=http://user@api.example:8443/x?y":                  "api.example:8443",
		"a CLIENT x 0..1 net.peer.name=legacy":                                       "legacy",
	} {
		if got := build(t, line, 0).Nodes[0].Facts.PeerName(); got != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
	for line, want := range map[string]string{
		"a CLIENT x 0..1 @ledger.prod.svc.cluster.local": "ledger", "a CLIENT x 0..1 @api.bank.example": "api.bank.example",
		"a CLIENT x 0..1 @10.0.0.4 rpc.method=shop.Cart/Get": "shop.Cart", "a CLIENT x 0..1 @10.0.0.4": "10.0.0.4",
	} {
		if got := build(t, line, 0).Nodes[0].Facts.CalleeName(); got != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
}
