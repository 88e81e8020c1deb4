package storage

import (
	"context"
	"fmt"
	"math/bits"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// What is called is summed up by the minute, soon after it is over, and by the hour. Either is made as a whole and may be made again: its
// rows then replace the ones that are there. So nothing is counted twice, whoever makes it, however often, and whatever is killed
// meanwhile. What is not whole has no row that says so, and is not read.

// Grain is what traffic is summed up by.
type Grain time.Duration

// The grains.
const (
	ByMinute = Grain(time.Minute)
	ByHour   = Grain(time.Hour)
)

func (g Grain) table() string {
	if g == ByHour {
		return "traffic"
	}
	return "traffic_recent"
}

// TrafficRecentFor is how far back traffic is known by the minute.
const TrafficRecentFor = 3 * time.Hour

const (
	// Of a service, so many operations are counted by themselves, so many others that it calls, and so many sets of attributes of its
	// resource; the rest is counted together, under otherName. Of an hour, and of a minute.
	trafficNamesMax     = 500
	trafficResourcesMax = 50
	otherName           = "(other)"
	// trafficNameLen cuts names.
	trafficNameLen = 300
	// Who calls whom is looked at in about so many spans at once, of whole traces; where hours are made, in ten times as many. Pairs of spans
	// have to be found, which takes memory and most of the time.
	trafficEdgeSpans = 400_000
	// trafficAround is how long before and after a caller's span the callee's may have been stored.
	trafficAround = time.Minute
	// trafficTimeout is for an hour of a large company on one thread.
	trafficTimeout = 10 * time.Minute
)

// TrafficBuckets is how many buckets durations are counted in; TrafficBound is what the first, ... has at most, in nanoseconds. The last
// has no bound.
const TrafficBuckets = 16

// TrafficBound is the upper bound of a bucket.
func TrafficBound(bucket int) time.Duration { return time.Millisecond << bucket }

// bucketSQL is the bucket of a duration.
func bucketSQL(ns string) string {
	return fmt.Sprintf("if(%[1]s <= 1000000, 0, least(%[2]d, toUInt8(floor(log2(intDiv(%[1]s - 1, 1000000)))) + 1))", ns, TrafficBuckets-1)
}

// countsSQL adds up counts by bucket.
func countsSQL(count, bucket string) string {
	list := make([]string, TrafficBuckets)
	for i := range list {
		list[i] = fmt.Sprintf("toUInt64(round(sumIf(%s, %s = %d)))", count, bucket, i)
	}
	return "[" + strings.Join(list, ", ") + "]"
}

// representsSQL is for how many requests a span stands, by the threshold in its trace state, or else by its attribute SampleRate: what package
// trace makes of it. Attributes take most to read: they are asked where spans have that one.
func representsSQL(rated bool) string {
	otherwise := "1."
	if rated {
		otherwise = "greatest(1., least(1e6, toFloat64OrZero(SpanAttributes['SampleRate'])))"
	}
	return `if(extract(TraceState, '(?:^|,)\\s*ot=(?:[^,;]*;)*th:([0-9a-fA-F]{1,14})(?:[;,]|$)') AS Threshold = '', ` + otherwise +
		`, least(1e6, 72057594037927936 / (72057594037927936 - reinterpretAsUInt64(reverse(unhex(rightPad(Threshold, 14, '0')))))))`
}

// rated says whether spans that were stored in a time say a SampleRate, by some of them.
func (db *DB) rated(ctx context.Context, from, to time.Time) (bool, error) {
	const some = 20_000
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	n, err := db.Count(ctx, fmt.Sprintf("SELECT countIf(mapContains(SpanAttributes, 'SampleRate')) FROM (SELECT SpanAttributes FROM %s WHERE %s LIMIT %d)", db.spans, db.within(from, to), some))
	return n > 0, err
}

// firstOf is the value of the first of some attributes that a span has.
func firstOf(keys ...string) string {
	var b strings.Builder
	b.WriteString("multiIf(")
	for _, key := range keys {
		fmt.Fprintf(&b, "Attributes['%[1]s'] != '', Attributes['%[1]s'], ", key)
	}
	return b.String() + "'')"
}

// peerSQL names what was called where that sends no spans, as trace.Facts.PeerName does.
var peerSQL = strings.NewReplacer(
	"{peer}", firstOf("service.peer.name", "peer.service"),
	"{db}", dbSystem, "{namespace}", firstOf("db.namespace", "db.name"),
	"{messaging}", "Attributes['messaging.system']", "{destination}", firstOf("messaging.destination.name", "messaging.destination"),
	"{rpc}", "if(Attributes['rpc.service'] != '', Attributes['rpc.service'], extract(Attributes['rpc.method'], '^/?(.*)/[^/]*$'))",
	"{host}", "multiIf(Attributes['server.address'] != '', Attributes['server.address'], Attributes['net.peer.name'] != '', Attributes['net.peer.name'], "+
		urlHost+" != '', "+urlHost+", "+firstOf("network.peer.address", "net.sock.peer.addr", "net.peer.ip")+")",
	"{port}", "multiIf(Attributes['server.port'] != '', Attributes['server.port'], Attributes['net.peer.port'] != '', Attributes['net.peer.port'], "+
		"Attributes['server.address'] = '' AND Attributes['net.peer.name'] = '', "+urlPort+", '')",
).Replace(`multiIf(
	{peer} != '', {peer},
	{db} != '', arrayStringConcat(arrayFilter(part -> part != '', [{db}, {namespace}, {host}]), ' '),
	{messaging} != '', arrayStringConcat(arrayFilter(part -> part != '', [{messaging}, {destination}]), ' '),
	{rpc} != '', {rpc},
	{host} != '' AND {port} != '', concat({host}, ':', {port}),
	{host})`)

var (
	dbSystem  = firstOf("db.system.name", "db.system")
	calledURL = firstOf("url.full", "http.url")
	urlHost   = "extract(" + calledURL + ", '^[^:/]{1,11}://(?:[^/?#]*@)?([^/?#]*?)(?::[^/?#:\\]]*)?(?:[/?#]|$)')"
	urlPort   = "extract(" + calledURL + ", '^[^:/]{1,11}://[^/?#]*:([^/?#:\\]]*)(?:[/?#]|$)')"
)

// ofInstances are resource attributes that tell instances of a service apart, which may be many, and not its owners.
const ofInstances = `startsWith(k, 'process.') OR startsWith(k, 'host.') OR startsWith(k, 'os.') OR startsWith(k, 'telemetry.')
	OR k IN ('service.instance.id', 'container.id', 'container.name', 'k8s.pod.name', 'k8s.pod.uid', 'k8s.pod.ip', 'k8s.pod.start_time', 'k8s.node.name', 'k8s.node.uid',
		'k8s.replicaset.name', 'k8s.replicaset.uid', 'faas.instance', 'cloud.resource_id')`

// The statements that make minutes or hours, all in a time at once: on disk, spans lie by operation first, and a short time would be looked for
// again and again. {at} is the minute or hour of a span, {when} when spans were stored, {around} that and the time around it.
const (
	trafficServices = `INSERT INTO {table} (At, Kind, Service, Name, Hash, Resource, Calls, First, Last)
SELECT Time, 'service', Service, Resource['service.version'], cityHash64(Resource), Resource, sum(Spans), min(First), max(Last) FROM (
	SELECT Time, Service, if(row_number() OVER (PARTITION BY Time, Service ORDER BY Spans DESC, cityHash64(Attributes)) > {resources},
			CAST(map('service.version', Attributes['service.version']), 'Map(LowCardinality(String), String)'), Attributes) AS Resource, Spans, First, Last FROM (
		SELECT Time, Service, mapFilter((k, v) -> NOT ({ofInstances}), All) AS Attributes, sum(Spans) AS Spans, min(First) AS First, max(Last) AS Last FROM (
			SELECT {at} AS Time, ServiceName AS Service, any(ResourceAttributes) AS All, count() AS Spans, min({stored}) AS First, max({stored}) AS Last
			FROM {spans} WHERE {when} AND ServiceName != '' GROUP BY Time, ServiceName, cityHash64(ResourceAttributes)
		) GROUP BY Time, Service, Attributes
	)
) GROUP BY Time, Service, Resource`

	trafficOperations = `INSERT INTO {table} (At, Kind, Service, Name, Type, Status, Calls, Failed, Entries, DurationNs, Buckets)
SELECT Time, 'operation', Service, Name, Type, Status, sum(Count), if(Status = 'Error', sum(Count), 0), sum(Roots), sum(Ns), sumForEach(Counts) FROM (
	SELECT Time, Service, if(row_number() OVER (PARTITION BY Time, Service ORDER BY arraySum(Counts) DESC, Operation, Type, Status) > {names}, '{other}', Operation) AS Name,
		Type, Status, arraySum(Counts) AS Count, Roots, Ns, Counts FROM (
		SELECT Time, Service, leftUTF8(SpanName, {length}) AS Operation,
			transform(toString(SpanKind), ['SPAN_KIND_SERVER', 'SPAN_KIND_CLIENT', 'SPAN_KIND_PRODUCER', 'SPAN_KIND_CONSUMER', 'SPAN_KIND_INTERNAL', 'SPAN_KIND_UNSPECIFIED'],
				['Server', 'Client', 'Producer', 'Consumer', 'Internal', 'Unspecified']) AS Type,
			transform(toString(StatusCode), ['STATUS_CODE_ERROR', 'STATUS_CODE_OK', 'STATUS_CODE_UNSET', ''], ['Error', 'Ok', 'Unset', 'Unset']) AS Status,
			toUInt64(round(sum(Rooted))) AS Roots, toUInt64(round(sum(Sum))) AS Ns, {counts} AS Counts FROM (
			SELECT {at} AS Time, ServiceName AS Service, SpanName, SpanKind, StatusCode, {bucket} AS Bucket,
				sum({represents}) AS Requests, sumIf({represents}, ParentSpanId = '') AS Rooted, sum({represents} * Duration) AS Sum
			FROM {spans} WHERE {when} AND ServiceName != '' GROUP BY Time, ServiceName, SpanName, SpanKind, StatusCode, Bucket
		) GROUP BY Time, Service, Operation, Type, Status
	)
) GROUP BY Time, Service, Name, Type, Status`

	trafficEdges = `INSERT INTO {table} (At, Kind, Service, Name, Type, Calls, Failed, DurationNs, Buckets, ServerNs, ServerBuckets)
SELECT Time, 'edge', Service, Name, Type, sum(Count), sum(Errors), sum(Ns), sumForEach(Counts), sum(CalleeNs), sumForEach(CalleeCounts) FROM (
	SELECT Time, Service, if(row_number() OVER (PARTITION BY Time, Service ORDER BY Count DESC, Callee, Type) > {names}, '{other}', Callee) AS Name,
		Type, Count, Errors, Ns, Counts, CalleeNs, CalleeCounts FROM (
		SELECT Time, Caller AS Service, leftUTF8(Called, {length}) AS Callee, Between AS Type,
			toUInt64(round(sum(Requests))) AS Count, toUInt64(round(sumIf(Requests, Failed))) AS Errors,
			toUInt64(round(sumIf(Requests * ClientNs, Clients))) AS Ns, {clientCounts} AS Counts,
			toUInt64(round(sumIf(Requests * ServedNs, Servers))) AS CalleeNs, {serverCounts} AS CalleeCounts FROM (
			SELECT p.Time AS Time, p.Service AS Caller, s.Parent != 0 AS Servers, p.Calls AS Clients,
				if(Servers, s.Service, {peer}) AS Called,
				multiIf(Servers, if(p.Kind IN ({producer}) OR s.Kind IN ({consumer}), 'messaging_system', ''), {db} != '', 'database',
					Attributes['messaging.system'] != '' OR p.Kind IN ({producer}), 'messaging_system', 'virtual_node') AS Between,
				p.Requests * {scale} AS Requests, p.Failed AS Failed, p.Ns AS ClientNs, s.Ns AS ServedNs
			FROM (
				SELECT {at} AS Time, cityHash64(TraceId, SpanId) AS Id, toString(ServiceName) AS Service, toString(SpanKind) AS Kind, Kind IN ({client}, {producer}) AS Calls,
					SpanAttributes AS Attributes, StatusCode IN ('Error', 'STATUS_CODE_ERROR') AS Failed, Duration AS Ns, {represents} AS Requests
				FROM {spans} WHERE {when} AND {sampled} AND ServiceName != '' AND SpanKind IN ({client}, {producer}, {server}, {consumer})
			) AS p LEFT JOIN (
				SELECT cityHash64(TraceId, ParentSpanId) AS Parent, toString(ServiceName) AS Service, toString(SpanKind) AS Kind, Duration AS Ns
				FROM {spans} WHERE {around} AND {sampled} AND ServiceName != '' AND ParentSpanId != '' AND SpanKind IN ({server}, {consumer})
			) AS s ON p.Id = s.Parent
			WHERE if(s.Parent = 0, p.Calls, p.Calls OR p.Service != s.Service)
			UNION ALL
			SELECT {at}, '{user}', true, false, toString(ServiceName), 'virtual_node', {represents}, StatusCode IN ('Error', 'STATUS_CODE_ERROR'), toUInt64(0), Duration
			FROM {spans} WHERE {when} AND ServiceName != '' AND ParentSpanId = '' AND SpanKind IN ({server})
		) WHERE Callee != '' GROUP BY Time, Service, Callee, Type
	)
) GROUP BY Time, Service, Name, Type`

	// trafficHour adds up the minutes of an hour.
	trafficHour = `INSERT INTO {hours} (At, Kind, Service, Name, Type, Status, Hash, Resource, Calls, Failed, Entries, DurationNs, Buckets, ServerNs, ServerBuckets, First, Last)
SELECT '{hour}', Kind, Service, Title, Type, Status, Hash, any(Resource), sum(Calls), sum(Failed), sum(Entries), sum(DurationNs), sumForEach(Buckets),
	sum(ServerNs), sumForEach(ServerBuckets), min(First), max(Last) FROM (
	SELECT *, if(Kind IN ('operation', 'edge') AND dense_rank() OVER (PARTITION BY Kind, Service ORDER BY OfName DESC, Name) > {names}, '{other}', Name) AS Title FROM (
		SELECT *, sum(Calls) OVER (PARTITION BY Kind, Service, Name) AS OfName
		FROM {minutes} FINAL WHERE At >= '{from}' AND At < '{to}' AND Kind != 'made'
	)
) GROUP BY Kind, Service, Title, Type, Status, Hash`
)

// MakeTraffic sums up what was stored in [from, to), by minutes or by hours, which are over.
func (db *DB) MakeTraffic(ctx context.Context, from, to time.Time, grain Grain) error {
	stored, err := db.Stored(ctx, from, to, grain)
	if err != nil {
		return err
	}
	if err := db.unmake(ctx, from, to, grain); err != nil {
		return err
	}
	spans := uint64(0)
	for _, n := range stored {
		spans += n
	}
	if spans > 0 {
		most := uint64(trafficEdgeSpans)
		if grain == ByHour {
			most *= 10
		}
		rated, err := db.rated(ctx, from, to)
		if err != nil {
			return err
		}
		words := db.trafficWords(from, to, grain, bits.Len64((spans-1)/most), rated)
		for _, statement := range []string{trafficServices, trafficOperations, trafficEdges} {
			if err := db.execGently(ctx, words.Replace(statement)); err != nil {
				return wrap("sum up what was called", err)
			}
		}
	}
	return db.setMade(ctx, from, to, grain, stored)
}

// unmake takes away what was made before, or begun: not all of it is replaced. Who was called is another row once that has sent its span.
func (db *DB) unmake(ctx context.Context, from, to time.Time, grain Grain) error {
	const op = "take away what was summed up before"
	of := fmt.Sprintf("FROM %s WHERE At >= '%s' AND At < '%s'", db.table(grain.table()), dateTime(from), dateTime(to))
	n, err := db.Count(ctx, "SELECT count() "+of)
	if err != nil || n == 0 {
		return wrap(op, err)
	}
	return wrap(op, db.execGently(ctx, "DELETE "+of))
}

// AddUpTraffic makes an hour of its minutes, each of which is there as a whole.
func (db *DB) AddUpTraffic(ctx context.Context, hour time.Time) error {
	end := hour.Add(time.Hour)
	stored, err := db.Stored(ctx, hour, end, ByHour)
	if err != nil {
		return err
	}
	words := strings.NewReplacer(
		"{hours}", db.table("traffic"), "{minutes}", db.table("traffic_recent"), "{names}", fmt.Sprint(trafficNamesMax), "{other}", otherName,
		"{hour}", dateTime(hour), "{from}", dateTime(hour), "{to}", dateTime(end),
	)
	if err := db.execGently(ctx, words.Replace(trafficHour)); err != nil {
		return wrap("sum up what was called", err)
	}
	return db.setMade(ctx, hour, end, ByHour, stored)
}

func dateTime(t time.Time) string { return t.UTC().Format(time.DateTime) }

// within is the condition on when a span was stored.
func (db *DB) within(from, to time.Time) string {
	return fmt.Sprintf("%[1]s >= '%[2]s' AND %[1]s < '%[3]s'", db.stored, stamp(from), stamp(to))
}

// trafficWords fills the statements in. Edges are looked at in one trace of 2^sampled.
func (db *DB) trafficWords(from, to time.Time, grain Grain, sampled int, rated bool) *strings.Replacer {
	pick := "1"
	if sampled > 0 {
		// The lowest bits tell shards apart.
		pick = fmt.Sprintf("bitAnd(bitShiftRight(cityHash64(TraceId), 16), %d) = 0", 1<<sampled-1)
	}
	return strings.NewReplacer(
		"{table}", db.table(grain.table()), "{at}", db.timeOf(grain), "{spans}", db.spans, "{stored}", db.stored,
		"{when}", db.within(from, to), "{around}", db.within(from.Add(-trafficAround), to.Add(trafficAround)), "{sampled}", pick, "{scale}", fmt.Sprint(1<<sampled),
		"{ofInstances}", ofInstances, "{resources}", fmt.Sprint(trafficResourcesMax), "{names}", fmt.Sprint(trafficNamesMax),
		"{length}", fmt.Sprint(trafficNameLen), "{other}", otherName, "{user}", UserCaller,
		"{represents}", representsSQL(rated), "{bucket}", bucketSQL("Duration"), "{counts}", countsSQL("Requests", "Bucket"),
		"{clientCounts}", countsSQL("Requests", "if(Clients, "+bucketSQL("ClientNs")+", 255)"),
		"{serverCounts}", countsSQL("Requests", "if(Servers, "+bucketSQL("ServedNs")+", 255)"),
		"{peer}", peerSQL, "{db}", dbSystem, "{client}", "'Client', 'SPAN_KIND_CLIENT'", "{producer}", "'Producer', 'SPAN_KIND_PRODUCER'",
		"{server}", "'Server', 'SPAN_KIND_SERVER'", "{consumer}", "'Consumer', 'SPAN_KIND_CONSUMER'",
	)
}

// timeOf is the minute or the hour in which a span was stored.
func (db *DB) timeOf(grain Grain) string {
	name := "toStartOfMinute"
	if grain == ByHour {
		name = "toStartOfHour"
	}
	return name + "(toDateTime(" + db.stored + ", 'UTC'))"
}

// execGently leaves ClickHouse to others.
func (db *DB) execGently(ctx context.Context, statement string) error {
	ctx, cancel := context.WithTimeout(ctx, trafficTimeout)
	defer cancel()
	settings := clickhouse.Settings{"async_insert": 0, "max_insert_threads": 1, "max_execution_time": trafficTimeout.Seconds(), "join_use_nulls": 0}
	for _, s := range gentle(1) {
		settings[s.Key] = s.Value
	}
	return db.conn.Exec(clickhouse.Context(ctx, clickhouse.WithSettings(settings)), statement)
}

// setMade records that all minutes or hours of a time are there as a whole, and how many spans each had.
func (db *DB) setMade(ctx context.Context, from, to time.Time, grain Grain, stored map[time.Time]uint64) error {
	var rows []string
	for at := from.UTC(); at.Before(to); at = at.Add(time.Duration(grain)) {
		rows = append(rows, fmt.Sprintf("('%s', 'made', %d)", dateTime(at), stored[at]))
	}
	return wrap("record what was summed up", db.conn.Exec(ctx, "INSERT INTO "+db.table(grain.table())+" (At, Kind, Calls) VALUES "+strings.Join(rows, ", ")))
}

// TrafficMade are the minutes or hours from a time on that were made, and how many spans each had then.
func (db *DB) TrafficMade(ctx context.Context, from time.Time, grain Grain) (map[time.Time]uint64, error) {
	return db.countsByTime(ctx, "SELECT At, argMax(Calls, MadeAt) FROM "+db.table(grain.table())+" WHERE Kind = 'made' AND At >= '"+dateTime(from)+"' GROUP BY At")
}

// Stored is how many spans were stored in each minute or hour of a time.
func (db *DB) Stored(ctx context.Context, from, to time.Time, grain Grain) (map[time.Time]uint64, error) {
	return db.countsByTime(ctx, "SELECT "+db.timeOf(grain)+" AS Time, count() FROM "+db.spans+" WHERE "+db.within(from, to)+" GROUP BY Time")
}

func (db *DB) countsByTime(ctx context.Context, query string) (map[time.Time]uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	rows, err := db.conn.Query(ctx, query)
	if err != nil {
		return nil, wrap("look what was summed up", err)
	}
	defer func() { _ = rows.Close() }()
	counts := make(map[time.Time]uint64)
	for rows.Next() {
		var at time.Time
		var n uint64
		if err := rows.Scan(&at, &n); err != nil {
			return nil, wrap("look what was summed up", err)
		}
		counts[at.UTC()] = n
	}
	return counts, wrap("look what was summed up", rows.Err())
}

// OldestStored is the day, or the time, when the oldest span was stored; zero if there is none.
func (db *DB) OldestStored(ctx context.Context) (at time.Time, err error) {
	column := db.stored
	if column == "IngestTime" {
		column = "IngestDate" // which is read of no row: partitions know it
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	var spans uint64
	err = db.conn.QueryRow(ctx, "SELECT count(), toDateTime64(min("+column+"), 3, 'UTC') FROM "+db.spans).Scan(&spans, &at)
	if spans == 0 {
		at = time.Time{}
	}
	return at, wrap("look for the oldest span", err)
}
