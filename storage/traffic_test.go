package storage_test

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/whosehop/whosehop/analyzer/trace"
	"github.com/whosehop/whosehop/internal/clickhousetest"
	"github.com/whosehop/whosehop/internal/tracescript"
	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/storage/spans"
)

// calledSpan is a row of a table of spans.
type calledSpan struct {
	trace, id, parent, name, kind, service, version, status, state, peer string
	at                                                                   time.Time
	ns                                                                   int64
	represents                                                           uint64
}

// randomTraffic are traces of a few services that begin in a time: calls, queues, databases, calls that never arrived, spans without a parent.
func randomTraffic(r *rand.Rand, from time.Time, within time.Duration, traces int) (list []calledSpan) {
	services := []string{"web", "cart", "pay", "stock"}
	for t := range traces {
		state, represents := "", uint64(1)
		if r.IntN(4) == 0 {
			state, represents = "vendor=th:1, ot=rv:1;th:c", 4
		}
		at := from.Add(time.Duration(r.Int64N(int64(within)))).Truncate(time.Millisecond)
		n := 0
		add := func(parent, kind, service, name, peer string) string {
			n++
			s := calledSpan{
				trace: fmt.Sprintf("%032x", t+1), id: fmt.Sprintf("%016x", n), parent: parent, name: name, kind: kind, service: service, version: fmt.Sprint("v", r.IntN(2)),
				status: []string{"Unset", "Ok", "Error"}[r.IntN(3)], state: state, peer: peer, at: at.Add(time.Duration(r.IntN(2000)) * time.Millisecond), represents: represents,
				ns: int64(float64(time.Millisecond) * []float64{0, 0.5, 1, 1.000001, 2, 3, 4, 1000, 16384, 16384.1, 1e6}[r.IntN(11)]),
			}
			list = append(list, s)
			return s.id
		}
		server := add("", "Server", services[r.IntN(4)], "GET /", "")
		for range r.IntN(5) {
			caller := list[len(list)-1].service
			switch client := add(server, "Client", caller, "call", "bank"); r.IntN(5) {
			case 0: // nobody answers
			case 1:
				add(client, "Server", services[r.IntN(4)], "POST", "")
				add(client, "Server", services[r.IntN(4)], "POST", "")
			default:
				server = add(client, "Server", services[r.IntN(4)], "POST", "")
			}
		}
		message := add(server, "Producer", "cart", "send", "")
		for range r.IntN(3) {
			add(message, "Consumer", services[r.IntN(4)], "receive", "")
		}
		add(server, "Server", "stock", "no client between", "")
		add("00000000000000ff", "Server", "pay", "its parent is lost", "")
	}
	return list
}

func insertCalled(t *testing.T, conn clickhouse.Conn, into string, list []calledSpan) {
	t.Helper()
	for part := range slices.Chunk(list, 2000) {
		var rows []string
		for _, s := range part {
			rows = append(rows, fmt.Sprintf("('%[1]s', '%[1]s', '%[2]s', '%[3]s', '%[4]s', '%[5]s', '%[6]s', '%[7]s', {'service.version': '%[8]s', 'host.name': '%[9]s'}, '%[10]s', '%[11]s', %[12]d, {'peer.service': '%[13]s'})",
				s.at.UTC().Format("2006-01-02 15:04:05.000"), s.trace, s.id, s.parent, s.name, s.kind, s.service, s.version, s.id, s.status, s.state, s.ns, s.peer))
		}
		err := conn.Exec(t.Context(), "INSERT INTO "+into+" (Timestamp, IngestTime, TraceId, SpanId, ParentSpanId, SpanName, SpanKind, ServiceName, ResourceAttributes, StatusCode, TraceState, Duration, SpanAttributes)"+
			" SETTINGS distributed_foreground_insert = 1 VALUES "+strings.Join(rows, ", "))
		if err != nil {
			t.Fatal(err)
		}
	}
}

func bucketOf(ns int64) int {
	for i := range storage.TrafficBuckets - 1 {
		if time.Duration(ns) <= storage.TrafficBound(i) {
			return i
		}
	}
	return storage.TrafficBuckets - 1
}

// count adds a call to a sum.
func count(buckets *[]uint64, sum *uint64, s *calledSpan, ns int64) {
	if *buckets == nil {
		*buckets = make([]uint64, storage.TrafficBuckets)
	}
	(*buckets)[bucketOf(ns)] += s.represents
	*sum += s.represents * uint64(ns)
}

// recountTraffic sums up from scratch what began in [from, to).
func recountTraffic(list []calledSpan, from, to time.Time) (operations map[[3]string]storage.Operation, edges map[[3]string]storage.Edge, versions map[[2]string]storage.SeenVersion) {
	operations, edges, versions = map[[3]string]storage.Operation{}, map[[3]string]storage.Edge{}, map[[2]string]storage.SeenVersion{}
	children := make(map[string][]*calledSpan)
	for i := range list {
		if s := &list[i]; s.kind == "Server" || s.kind == "Consumer" {
			children[s.trace+s.parent] = append(children[s.trace+s.parent], s)
		}
	}
	edge := func(caller, callee, between string, client, server *calledSpan) {
		key := [3]string{caller, callee, between}
		e := edges[key]
		e.Caller, e.Callee, e.Type = caller, callee, between
		seen := cmp.Or(client, server)
		e.Calls += seen.represents
		if seen.status == "Error" {
			e.Failed += seen.represents
		}
		count(&e.ClientBuckets, new(uint64), &calledSpan{}, 0)
		count(&e.ServerBuckets, new(uint64), &calledSpan{}, 0)
		if client != nil && (client.kind == "Client" || client.kind == "Producer") {
			count(&e.ClientBuckets, &e.ClientNs, client, client.ns)
		}
		if server != nil {
			count(&e.ServerBuckets, &e.ServerNs, seen, server.ns)
		}
		edges[key] = e
	}
	for i := range list {
		s := &list[i]
		if s.at.Before(from) || !s.at.Before(to) {
			continue
		}
		o := operations[[3]string{s.service, s.name, s.kind}]
		o.Service, o.Name, o.Kind = s.service, s.name, s.kind
		o.Calls += s.represents
		if s.status == "Error" {
			o.Failed += s.represents
		}
		if s.parent == "" {
			o.Entries += s.represents
		}
		count(&o.Buckets, &o.DurationNs, s, s.ns)
		operations[[3]string{s.service, s.name, s.kind}] = o

		v, known := versions[[2]string{s.service, s.version}]
		if !known {
			v = storage.SeenVersion{Service: s.service, Version: s.version, First: s.at, Last: s.at}
		}
		v.Spans++
		if s.at.Before(v.First) {
			v.First = s.at
		}
		if s.at.After(v.Last) {
			v.Last = s.at
		}
		versions[[2]string{s.service, s.version}] = v

		calls := s.kind == "Client" || s.kind == "Producer"
		found := children[s.trace+s.id]
		for _, c := range found {
			between := ""
			if s.kind == "Producer" || c.kind == "Consumer" {
				between = "messaging_system"
			}
			if calls || s.service != c.service {
				edge(s.service, c.service, between, s, c)
			}
		}
		if len(found) == 0 && calls && s.peer != "" {
			edge(s.service, s.peer, "virtual_node", s, nil)
		}
		if s.kind == "Server" && s.parent == "" {
			edge(storage.UserCaller, s.service, "virtual_node", nil, s)
		}
	}
	return operations, edges, versions
}

// asCounted holds what is read of a time against a recount.
func asCounted(t *testing.T, db *storage.DB, list []calledSpan, from, to time.Time) {
	t.Helper()
	w := storage.NewTrafficWindow(from, to, time.Now())
	operations, edges, versions := recountTraffic(list, w.From, w.To)
	gotOperations, err := db.Operations(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	gotEdges, err := db.Edges(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	gotVersions, err := db.Versions(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	text := func(v any) string { return fmt.Sprintf("%+v", v) }
	same := func(what string, got, want []string) {
		t.Helper()
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) || len(want) == 0 {
			t.Errorf("%s from %s to %s:\n%s\nwant\n%s", what, from, to, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	texts := func(list []string, v any) []string { return append(list, text(v)) }
	var got, want []string
	for _, o := range gotOperations {
		got = texts(got, o)
	}
	for o := range maps.Values(operations) {
		want = texts(want, o)
	}
	same("operations", got, want)
	got, want = nil, nil
	for _, e := range gotEdges {
		got = texts(got, e)
	}
	for e := range maps.Values(edges) {
		want = texts(want, e)
	}
	same("edges", got, want)
	got, want = nil, nil
	for _, v := range gotVersions {
		got = texts(got, v)
	}
	for v := range maps.Values(versions) {
		want = texts(want, v)
	}
	same("versions", got, want)
}

// TestTraffic: what is summed up by minutes, by hours, and by hours that are added up, is what a recount says; and a second time changes
// nothing.
func TestTraffic(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	dsn := clickhousetest.DSN(t)
	db := clickhousetest.Open(t, dsn)
	conn := rawConn(t, dsn)
	now := time.Now().UTC().Truncate(time.Hour)
	const hours = 5
	from := now.Add(-hours * time.Hour)
	list := randomTraffic(r, from, hours*time.Hour-time.Second*10, 400)
	insertCalled(t, conn, "otel_traces", list)

	ctx := t.Context()
	done := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	// The last two hours by minutes, in steps of any length, and one of them is added up; those before by hours.
	recent := now.Add(-2 * time.Hour)
	for range 2 {
		for at := recent; at.Before(now); {
			step := min(time.Duration(1+r.IntN(50))*time.Minute, now.Sub(at))
			done(db.MakeTraffic(ctx, at, at.Add(step), storage.ByMinute))
			at = at.Add(step)
		}
		asCounted(t, db, list, recent.Add(7*time.Minute+3*time.Second), recent.Add(90*time.Minute))
		done(db.MakeTraffic(ctx, from, recent, storage.ByHour))
		done(db.AddUpTraffic(ctx, recent))
		asCounted(t, db, list, from, now)
		asCounted(t, db, list, from.Add(30*time.Minute), now.Add(-80*time.Minute))
	}
	made, err := db.TrafficMade(ctx, from, storage.ByHour)
	if err != nil || len(made) != hours-1 {
		t.Errorf("made %v, %v", made, err)
	}
	stored, err := db.Stored(ctx, from, now, storage.ByHour)
	if err != nil || len(stored) != hours {
		t.Errorf("stored %v, %v", stored, err)
	}
	for at, n := range made {
		if stored[at] != n {
			t.Errorf("at %s there are %d spans, and %d were seen", at, stored[at], n)
		}
	}
	oldest, err := db.OldestStored(ctx)
	if err != nil || oldest.After(from) || oldest.Before(from.Add(-24*time.Hour)) {
		t.Errorf("the oldest is of %s, %v", oldest, err)
	}

	// A late span: its minute is made again.
	late := calledSpan{
		trace: strings.Repeat("f", 32), id: strings.Repeat("f", 16), name: "late", kind: "Server", service: "late", version: "v9", status: "Error", at: now.Add(-5 * time.Minute), ns: 5, represents: 1,
	}
	list = append(list, late)
	insertCalled(t, conn, "otel_traces", []calledSpan{late})
	done(db.MakeTraffic(ctx, late.at, late.at.Add(time.Minute), storage.ByMinute))
	asCounted(t, db, list, recent, now)
	// What was begun and is not whole is not read.
	if err := conn.Exec(ctx, "INSERT INTO traffic_recent (At, Kind, Service, Name, Calls) VALUES (?, 'operation', 'half', 'half', 5)", now.Format(time.DateTime)); err != nil {
		t.Fatal(err)
	}
	asCounted(t, db, list, recent, now.Add(time.Hour))
}

// TestTrafficOfLateCallee: until the callee's span comes, the call went to something that sends none.
func TestTrafficOfLateCallee(t *testing.T) {
	dsn := clickhousetest.DSN(t)
	db, conn := clickhousetest.Open(t, dsn), rawConn(t, dsn)
	at := time.Now().UTC().Truncate(time.Minute).Add(-10 * time.Minute)
	const insert = "INSERT INTO otel_traces (Timestamp, IngestTime, TraceId, SpanId, ParentSpanId, SpanName, SpanKind, ServiceName, SpanAttributes, Duration) VALUES "
	span := func(id, parent, kind, service string) string {
		return fmt.Sprintf("('%[1]s', '%[1]s', '%[2]s', '%[3]s', '%[4]s', 'call', '%[5]s', '%[6]s', map('server.address', 'pay.internal'), 5)",
			at.Format(time.DateTime), strings.Repeat("a", 32), id, parent, kind, service)
	}
	for i, test := range []struct{ span, want string }{{span("1", "", "Client", "web"), "web pay.internal virtual_node"}, {span("2", "1", "Server", "pay"), "web pay "}} {
		if err := conn.Exec(t.Context(), insert+test.span); err != nil {
			t.Fatal(err)
		}
		if err := db.MakeTraffic(t.Context(), at, at.Add(time.Minute), storage.ByMinute); err != nil {
			t.Fatal(err)
		}
		edges, err := db.Edges(t.Context(), storage.NewTrafficWindow(at, at.Add(time.Minute), time.Now()))
		if err != nil || len(edges) != 1 || edges[0].Caller+" "+edges[0].Callee+" "+edges[0].Type != test.want {
			t.Errorf("%d: %+v, %v", i, edges, err)
		}
	}
}

func TestTrafficOfAllShards(t *testing.T) {
	dsn, network := clickhousetest.Cluster(t)
	db := reopenCluster(t, dsn)
	now := time.Now().UTC().Truncate(time.Minute)
	r := rand.New(rand.NewPCG(1, 2))
	list := randomTraffic(r, now.Add(-20*time.Minute), 19*time.Minute, 100)
	insertCalled(t, rawConn(t, dsn), "otel_traces", list)
	for _, shard := range db.Locals() {
		if err := shard.MakeTraffic(t.Context(), now.Add(-20*time.Minute), now, storage.ByMinute); err != nil {
			t.Fatal(err)
		}
	}
	asCounted(t, db, list, now.Add(-20*time.Minute), now)
	asCounted(t, db, list, now.Add(-9*time.Hour), now)
	network[1].Vanish()
	w := storage.NewTrafficWindow(now.Add(-20*time.Minute), now, time.Now())
	if list, err := db.Edges(t.Context(), w); err != nil || len(list) == 0 {
		t.Errorf("while a shard is away: %v, %v", list, err)
	}
}

// TestTrafficSampled: of many spans at once, edges are estimated, and the rest is exact.
func TestTrafficSampled(t *testing.T) {
	dsn := clickhousetest.DSN(t)
	db := clickhousetest.Open(t, dsn)
	at := time.Now().UTC().Truncate(time.Minute).Add(-10 * time.Minute)
	const traces = 500_000
	err := rawConn(t, dsn).Exec(t.Context(), fmt.Sprintf(`INSERT INTO otel_traces (Timestamp, IngestTime, TraceId, SpanId, ParentSpanId, SpanName, SpanKind, ServiceName, Duration, StatusCode)
		WITH lower(hex(MD5(toString(number)))) AS id, toDateTime64('%s', 3) AS at, arrayJoin([1, 2]) AS n
		SELECT at, at, id, toString(n), if(n = 1, '', '1'), 'call', if(n = 1, 'Client', 'Server'), if(n = 1, 'web', 'pay'), 5000000, 'Error' FROM numbers(%d)`, at.Format(time.DateTime), traces))
	if err != nil {
		t.Fatal(err)
	}
	if err := db.MakeTraffic(t.Context(), at, at.Add(time.Minute), storage.ByMinute); err != nil {
		t.Fatal(err)
	}
	w := storage.NewTrafficWindow(at, at.Add(time.Minute), time.Now())
	operations, err := db.Operations(t.Context(), w)
	if err != nil || len(operations) != 2 || operations[0].Calls != traces || operations[1].Failed != traces {
		t.Errorf("%+v, %v", operations, err)
	}
	edges, err := db.Edges(t.Context(), w)
	if err != nil || len(edges) != 1 {
		t.Fatalf("%+v, %v", edges, err)
	}
	e := &edges[0]
	if e.Calls == traces || e.Calls < traces*0.97 || e.Calls > traces*1.03 || e.Failed != e.Calls || e.ClientBuckets[3] != e.Calls || e.ServerNs != e.Calls*5_000_000 {
		t.Errorf("%+v", e)
	}
}

// TestTrafficOfSampledTraces: a trace counts for as many as verdicts say that it stands for.
func TestTrafficOfSampledTraces(t *testing.T) {
	db := clickhousetest.DB(t)
	want := make(map[string]uint64)
	for i, says := range []struct{ state, rate string }{
		{"", ""},
		{"", "25"},
		{"", "0.5"},
		{"", "-3"},
		{"", "many"},
		{"", "1e9"},
		{"ot=th:8", "25"},
		{"vendor=th:8", "4"},
		{"ot=th:c;rv:1234567890abcd", ""},
		{"vendor=x, ot=rv:1234567890abcd;th:f8", ""},
		{"ot=th:fd70a3d70a3d7", ""},
		{"ot=th:ffffffffffffff", ""},
		{"ot=th:fffffffffffffff", "3"},
		{"ot=th:", "3"},
		{"ot=th:-8", ""},
		{"ot=th:0", "7"},
		{"ot=th:8,vendor=x", ""},
	} {
		attribute := ""
		if says.rate != "" {
			attribute = " SampleRate=" + says.rate
		}
		list, err := tracescript.Parse("shop SERVER call 0..10ms" + attribute)
		if err != nil {
			t.Fatal(err)
		}
		list[0].Service = fmt.Sprintf("%+v", says)
		b := tracescript.Block(list, spans.TraceID{2, 15: byte(i)})
		b.TraceStates.Reset()
		b.TraceStates.Append(says.state)
		f := trace.Build(b, trace.Group(b)[0].Rows, 10)
		want[list[0].Service] = uint64(math.Round(f.Represents(0)))
		if err := clickhousetest.Insert(t.Context(), db, b, uint64(i+1)); err != nil {
			t.Fatal(err)
		}
	}
	at := time.Now().UTC().Truncate(time.Minute)
	if err := db.MakeTraffic(t.Context(), at.Add(-10*time.Minute), at.Add(2*time.Minute), storage.ByMinute); err != nil {
		t.Fatal(err)
	}
	operations, err := db.Operations(t.Context(), storage.NewTrafficWindow(at.Add(-10*time.Minute), at.Add(2*time.Minute), at))
	if err != nil || len(operations) != len(want) {
		t.Fatalf("%+v, %v", operations, err)
	}
	for i := range operations {
		if o := &operations[i]; o.Calls != want[o.Service] || o.Entries != want[o.Service] {
			t.Errorf("%s: %d calls, %d entries, want %d", o.Service, o.Calls, o.Entries, want[o.Service])
		}
	}
}

// TestTrafficOfManyNames: what is too much to be told apart is counted together.
func TestTrafficOfManyNames(t *testing.T) {
	dsn := clickhousetest.DSN(t)
	db := clickhousetest.Open(t, dsn)
	hour := time.Now().UTC().Truncate(time.Hour).Add(-time.Hour)
	err := rawConn(t, dsn).Exec(t.Context(), fmt.Sprintf(`INSERT INTO otel_traces (Timestamp, IngestTime, TraceId, SpanId, SpanName, SpanKind, ServiceName, SpanAttributes, ResourceAttributes)
		WITH toDateTime64('%s', 3) + number %% 3600 AS at
		SELECT at, at, lower(hex(MD5(toString(number)))), '1', concat('GET /', toString(number %% 4000)), 'Client', 'web', map('peer.service', toString(number %% 4000)), map('a', toString(number %% 4000), 'service.version', '1') FROM numbers(20000)`,
		hour.Format(time.DateTime)))
	if err != nil {
		t.Fatal(err)
	}
	if err := db.MakeTraffic(t.Context(), hour, hour.Add(time.Hour), storage.ByMinute); err != nil {
		t.Fatal(err)
	}
	if err := db.AddUpTraffic(t.Context(), hour); err != nil {
		t.Fatal(err)
	}
	w := storage.NewTrafficWindow(hour.Add(-9*time.Hour), hour.Add(time.Hour), time.Now())
	operations, err := db.Operations(t.Context(), w)
	if err != nil || len(operations) > 501 || len(operations) < 100 || operations[0].Name != "(other)" {
		t.Fatalf("%d operations, %v", len(operations), err)
	}
	edges, err := db.Edges(t.Context(), w)
	if err != nil || len(edges) > 501 || len(edges) < 100 {
		t.Fatalf("%d edges, %v", len(edges), err)
	}
	calls, called := uint64(0), uint64(0)
	for i := range operations {
		calls += operations[i].Calls
	}
	for i := range edges {
		called += edges[i].Calls
	}
	if calls != 20_000 || called != 20_000 {
		t.Errorf("%d calls, %d of edges", calls, called)
	}
	services, err := db.SeenServices(t.Context(), w.From, w.To, []string{"a"})
	if err != nil || len(services) != 20 {
		t.Errorf("%d sets of attributes, %v", len(services), err)
	}
	versions, err := db.Versions(t.Context(), w, "web")
	if err != nil || len(versions) != 1 || versions[0].Spans != 20_000 || versions[0].Version != "1" {
		t.Errorf("%+v, %v", versions, err)
	}
	if versions, err := db.Versions(t.Context(), w, "o'hara"); err != nil || len(versions) != 0 {
		t.Errorf("%+v, %v", versions, err)
	}
}

// TestTrafficOfPeers: what sends no spans has the name that verdicts give it.
func TestTrafficOfPeers(t *testing.T) {
	db := clickhousetest.DB(t)
	want := make(map[string]string)
	for i, attributes := range []string{
		"service.peer.name=a peer.service=b", "peer.service=b server.address=host", "db.system.name=postgresql db.system=old db.name=orders server.address=pg server.port=5432",
		"db.system=redis net.peer.name=cache net.peer.port=6379", "db.system.name=mysql db.namespace=n", "db.system.name=mysql http.url=http://h:81/x",
		"messaging.system=kafka messaging.destination=jobs", "messaging.system=kafka messaging.destination.name=new messaging.destination=jobs", "messaging.system=kafka",
		"rpc.service=shop.Cart rpc.method=Get", "rpc.method=shop.Cart/Get", "rpc.method=/shop.Cart/Get", "rpc.method=Get server.address=h", "rpc.method=a/b/c",
		"server.address=h server.port=1", "server.address=h", "net.peer.name=h net.peer.port=2", "net.peer.name=h server.port=2", "url.full=https://u:p@api.example.com:8443/x?y=1",
		"http.url=http://api.example.com/x", "http.url=http://api.example.com/x network.peer.address=10.0.0.1", "network.peer.address=10.0.0.1 server.port=80", "net.sock.peer.addr=10.0.0.2",
		"net.peer.ip=10.0.0.3", "url.full=http://[::1]:81/x", "url.full=http://h", "url.full=https://api.example.com:8443/x server.address=proxy", "url.full=/nowhere", "db.system.name=postgresql network.peer.address=10.0.0.9",
	} {
		for _, kind := range []string{"CLIENT", "PRODUCER"} {
			list, err := tracescript.Parse("shop " + kind + " call 0..10ms " + attributes)
			if err != nil {
				t.Fatal(err)
			}
			one := tracescript.Block(list, spans.TraceID{1, 14: kind[0], 15: byte(i)})
			groups := trace.Group(one)
			name := trace.Build(one, groups[0].Rows, 10).Nodes[0].Facts.PeerName()
			service := fmt.Sprint(kind, " ", attributes)
			if name != "" {
				want[service] = name
			}
			list[0].Service = service
			one = tracescript.Block(list, spans.TraceID{1, 14: kind[0], 15: byte(i)})
			if err := clickhousetest.Insert(t.Context(), db, one, uint64(1000*i+len(kind))); err != nil {
				t.Fatal(err)
			}
		}
	}
	at := time.Now().UTC().Truncate(time.Minute)
	if err := db.MakeTraffic(t.Context(), at.Add(-10*time.Minute), at.Add(2*time.Minute), storage.ByMinute); err != nil {
		t.Fatal(err)
	}
	edges, err := db.Edges(t.Context(), storage.NewTrafficWindow(at.Add(-10*time.Minute), at.Add(2*time.Minute), at))
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string)
	for i := range edges {
		got[edges[i].Caller] = edges[i].Callee
		between := "virtual_node"
		switch {
		case strings.Contains(edges[i].Caller, "db.system"):
			between = "database"
		case strings.Contains(edges[i].Caller, "messaging.") || strings.HasPrefix(edges[i].Caller, "PRODUCER"):
			between = "messaging_system"
		}
		if edges[i].Type != between {
			t.Errorf("%s is of the type %q", edges[i].Caller, edges[i].Type)
		}
	}
	for service, name := range want {
		if got[service] != name {
			t.Errorf("%s: %q, want %q", service, got[service], name)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d peers, want %d", len(got), len(want))
	}
}
