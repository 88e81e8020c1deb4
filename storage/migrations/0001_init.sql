-- Spans: the columns of the OpenTelemetry ClickHouse exporter's otel_traces, same names, types and
-- meaning, then what blame needs beyond them. An exporter may insert only the first group.
--
-- Partitions and TTL go by the time of ingestion and not by the span's own clock: a span dated 1970
-- or 2200 must neither open a partition of its own nor vanish at once. The collector says the day itself,
-- so that a block that is tried again after midnight is known to be the same.
--
-- What the rest is for (benchmarks/table has the measurements):
-- - Blocks come sorted, and all rows of a block have one IngestTime: parts are merged run by run, not row
--   by row. Merging is most of what a span costs, so it waits for many parts (min_parts_to_merge_at_once).
-- - LZ4 where values repeat from row to row, ZSTD where they do not (ids, times, attributes).
-- - Small parts are compact. Filters over attributes are built when parts are merged, and not before: the
--   collector's inserts leave them out (exclude_materialize_skip_indexes_on_insert).
-- - Granules are small: what is asked for is a short time of each of many operations, or the spans of some traces.
-- - by_trace finds all spans of many traces; a bloom filter finds a thousand of them everywhere.
CREATE TABLE IF NOT EXISTS otel_traces
(
    Timestamp DateTime64(9) CODEC(Delta, ZSTD(1)),
    TraceId String CODEC(ZSTD(1)),
    SpanId String CODEC(ZSTD(1)),
    ParentSpanId String CODEC(ZSTD(1)),
    TraceState String CODEC(LZ4),
    SpanName LowCardinality(String) CODEC(LZ4),
    SpanKind LowCardinality(String) CODEC(LZ4),
    ServiceName LowCardinality(String) CODEC(LZ4),
    ResourceAttributes Map(LowCardinality(String), String) CODEC(LZ4),
    ScopeName String CODEC(LZ4),
    ScopeVersion String CODEC(LZ4),
    SpanAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    Duration UInt64 CODEC(ZSTD(1)),
    StatusCode LowCardinality(String) CODEC(LZ4),
    StatusMessage String CODEC(LZ4),
    Events Nested (
        Timestamp DateTime64(9),
        Name LowCardinality(String),
        Attributes Map(LowCardinality(String), String)
    ) CODEC(LZ4),
    Links Nested (
        TraceId String,
        SpanId String,
        TraceState String,
        Attributes Map(LowCardinality(String), String)
    ) CODEC(LZ4),

    -- What the exporter drops. What few spans have is in Extras, as JSON: columns that are always empty
    -- cost as much as full ones when parts are merged.
    ResourceSchemaUrl LowCardinality(String) CODEC(LZ4),
    ScopeSchemaUrl LowCardinality(String) CODEC(LZ4),
    SpanFlags UInt32 CODEC(LZ4),
    Extras String CODEC(LZ4),
    ScopeAttributes Map(LowCardinality(String), String) ALIAS CAST(JSONExtract(Extras, 'scopeAttributes', 'Map(String, String)'), 'Map(LowCardinality(String), String)'),
    DroppedAttributesCount UInt32 ALIAS JSONExtract(Extras, 'droppedAttributes', 'UInt32'),
    DroppedEventsCount UInt32 ALIAS JSONExtract(Extras, 'droppedEvents', 'UInt32'),
    DroppedLinksCount UInt32 ALIAS JSONExtract(Extras, 'droppedLinks', 'UInt32'),
    ResourceDroppedAttributesCount UInt32 ALIAS JSONExtract(Extras, 'resourceDroppedAttributes', 'UInt32'),
    ScopeDroppedAttributesCount UInt32 ALIAS JSONExtract(Extras, 'scopeDroppedAttributes', 'UInt32'),
    -- Nanoseconds by which the span ends before it starts; Duration is 0 then.
    EndBeforeStart UInt64 ALIAS JSONExtract(Extras, 'endBeforeStart', 'UInt64'),
    -- One an event, or a link; empty when all are 0.
    EventsDroppedAttributesCount Array(UInt32) ALIAS JSONExtract(Extras, 'eventsDroppedAttributes', 'Array(UInt32)'),
    LinksDroppedAttributesCount Array(UInt32) ALIAS JSONExtract(Extras, 'linksDroppedAttributes', 'Array(UInt32)'),
    LinksFlags Array(UInt32) ALIAS JSONExtract(Extras, 'linksFlags', 'Array(UInt32)'),

    -- What blame selects by. Suspect is a superset of "failed": the engine decides what it means. The
    -- collector sends it; the default is for other writers, and says the same (storage/native/suspect.go).
    Suspect Bool DEFAULT
        StatusCode IN ('Error', 'STATUS_CODE_ERROR')
        OR SpanAttributes['error.type'] != ''
        OR toUInt16OrZero(SpanAttributes['http.response.status_code']) >= 400
        OR toUInt16OrZero(SpanAttributes['http.status_code']) >= 400
        OR SpanAttributes['rpc.grpc.status_code'] NOT IN ('', '0')
        OR SpanAttributes['rpc.response.status_code'] NOT IN ('', '0', 'OK')
        OR SpanAttributes['rpc.status_code'] NOT IN ('', '0', 'OK')
        OR SpanAttributes['rpc.connect_rpc.error_code'] != ''
        OR SpanAttributes['error'] = 'true'
        OR has(Events.Name, 'exception') CODEC(LZ4),
    IngestTime DateTime64(3) DEFAULT now64(3) CODEC(LZ4),
    IngestDate Date DEFAULT toDate(IngestTime) CODEC(LZ4),
    -- The collector's block that the span came with: whether a block is there can be asked.
    Block UInt64 CODEC(LZ4),

    INDEX idx_ingest_time IngestTime TYPE minmax GRANULARITY 1,
    INDEX idx_timestamp Timestamp TYPE minmax GRANULARITY 1,
    INDEX idx_duration Duration TYPE minmax GRANULARITY 1,
    INDEX idx_span_attr_key mapKeys(SpanAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX idx_span_attr_value mapValues(SpanAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
    PROJECTION by_trace INDEX TraceId TYPE basic
)
ENGINE = MergeTree
PARTITION BY IngestDate
ORDER BY (ServiceName, SpanName, IngestTime)
SETTINGS index_granularity = 4096, ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000,
    min_parts_to_merge_at_once = 32, min_bytes_for_wide_part = 100000000,
    -- A day that is over becomes one part, up to 150 GB: what is looked up by trace is looked up once a part.
    min_age_to_force_merge_seconds = 3600, min_age_to_force_merge_on_partition_only = 1, enable_max_bytes_limit_for_min_age_to_force_merge = 1,
    -- The spans of a trace lie apart: of each, a block of every column is unpacked.
    min_compress_block_size = 16384, max_compress_block_size = 65536;

-- The exporter's helper for "when was this trace"; hand-written SQL and dashboards read it.
CREATE VIEW IF NOT EXISTS otel_traces_trace_id_ts AS
SELECT TraceId, toDateTime(min(Timestamp)) AS Start, toDateTime(max(Timestamp)) AS End
FROM otel_traces
WHERE TraceId != ''
GROUP BY TraceId;

-- Under this name an exporter that makes its own schema would fill the helper; it leaves alone what is there.
CREATE VIEW IF NOT EXISTS otel_traces_trace_id_ts_mv AS SELECT * FROM otel_traces_trace_id_ts;

-- One row a trace that was judged; a later Version replaces an earlier one, whole. A trace that was
-- judged and found healthy has a row too (no entries): that is how it is known to be done.
-- FirstIngest, the earliest IngestTime of the trace's spans, never changes, so that all versions
-- of a trace lie in one partition, and beside each other: by the hour, so that what is asked of an hour is
-- read of that hour.
CREATE TABLE IF NOT EXISTS verdicts
(
    TraceId String,
    Version UInt32,
    FirstIngest DateTime64(3),
    -- What was judged: the count of stored rows and the newest of them. More rows now: late spans.
    SpanRows UInt64,
    LastIngest DateTime64(3),
    JudgedAt DateTime64(3) DEFAULT now64(3),
    Rules LowCardinality(String),
    -- One element an entry of the trace whose symptom is not none; Body is the verdict's JSON.
    Entries Nested (
        Service LowCardinality(String),
        Operation LowCardinality(String),
        SpanId String,
        Start DateTime64(9),
        DurationNs Int64,
        Symptom LowCardinality(String),
        Summary String,
        Body String,
        -- For how many requests this one stands, by what its sampler says.
        Represents Float64,
        -- Whose share is the largest, and what all of them took over the baseline.
        Cause LowCardinality(String),
        ExcessNs Int64
    ),
    -- One element a share, of all entries; Entry is its entry's index, counted from 1.
    Shares Nested (
        Entry UInt32,
        Kind LowCardinality(String),
        Service LowCardinality(String),
        Operation LowCardinality(String),
        Caller LowCardinality(String),
        Callee LowCardinality(String),
        Phase LowCardinality(String),
        Peer LowCardinality(String),
        Accountable LowCardinality(String),
        Owner LowCardinality(String),
        Rule LowCardinality(String),
        Class LowCardinality(String),
        ErrorType LowCardinality(String),
        Weight Float64,
        -- The weight in millionths of a request: those of an entry add up to what it represents; and, as if it
        -- stood for itself alone, to one.
        Amount Int64,
        Stored Int64,
        ExcessNs Int64,
        Confidence Float64,
        Fingerprint LowCardinality(String),
        -- The service.version of who must act.
        Version LowCardinality(String),
        -- Of what is no edge: the service that called the site, and what the call went to that went wrong.
        Via LowCardinality(String),
        Target LowCardinality(String)
    ),
    -- One element a service in the trace, of all entries.
    Hops Nested (
        Entry UInt32,
        Service LowCardinality(String),
        Owner LowCardinality(String),
        Role LowCardinality(String),
        -- Its owner suffered, and this is the first of its services that did: it counts once.
        Suffered Bool
    ),
    -- When its entries began; 1970 of a trace without a symptom.
    FirstStart DateTime64(9) MATERIALIZED arrayMin(Entries.Start),
    LastStart DateTime64(9) MATERIALIZED arrayMax(Entries.Start),
    -- Whether a trace has a verdict is asked before each judgement; hardly any has.
    INDEX idx_trace_id TraceId TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX idx_judged_at JudgedAt TYPE minmax GRANULARITY 1,
    INDEX idx_first_start FirstStart TYPE minmax GRANULARITY 1,
    INDEX idx_last_start LastStart TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(Version)
PARTITION BY toDate(FirstIngest)
ORDER BY (toStartOfHour(FirstIngest, 'UTC'), TraceId)
SETTINGS index_granularity = 1024, ttl_only_drop_parts = 1, min_parts_to_merge_at_once = 10,
    -- A day that is over becomes one part: nothing has to be merged when it is read.
    min_age_to_force_merge_seconds = 3600, min_age_to_force_merge_on_partition_only = 1;
