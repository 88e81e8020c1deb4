-- Spans: the columns of the OpenTelemetry ClickHouse exporter's otel_traces, same names, types and
-- meaning, then what blame needs beyond them. An exporter may insert only the first group.
--
-- Partitions and TTL go by the time of ingestion and not by the span's own clock: a span dated 1970
-- or 2200 must neither open a partition of its own nor vanish at once.
CREATE TABLE IF NOT EXISTS otel_traces
(
    Timestamp DateTime64(9) CODEC(Delta, ZSTD(1)),
    TraceId String CODEC(ZSTD(1)),
    SpanId String CODEC(ZSTD(1)),
    ParentSpanId String CODEC(ZSTD(1)),
    TraceState String CODEC(ZSTD(1)),
    SpanName LowCardinality(String) CODEC(ZSTD(1)),
    SpanKind LowCardinality(String) CODEC(ZSTD(1)),
    ServiceName LowCardinality(String) CODEC(ZSTD(1)),
    ResourceAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    ScopeName String CODEC(ZSTD(1)),
    ScopeVersion String CODEC(ZSTD(1)),
    SpanAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    Duration UInt64 CODEC(ZSTD(1)),
    StatusCode LowCardinality(String) CODEC(ZSTD(1)),
    StatusMessage String CODEC(ZSTD(1)),
    Events Nested (
        Timestamp DateTime64(9),
        Name LowCardinality(String),
        Attributes Map(LowCardinality(String), String),
        DroppedAttributesCount UInt32
    ) CODEC(ZSTD(1)),
    Links Nested (
        TraceId String,
        SpanId String,
        TraceState String,
        Attributes Map(LowCardinality(String), String),
        DroppedAttributesCount UInt32,
        Flags UInt32
    ) CODEC(ZSTD(1)),

    -- What the exporter drops.
    ScopeAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    ResourceSchemaUrl LowCardinality(String) CODEC(ZSTD(1)),
    ScopeSchemaUrl LowCardinality(String) CODEC(ZSTD(1)),
    SpanFlags UInt32 CODEC(ZSTD(1)),
    DroppedAttributesCount UInt32 CODEC(ZSTD(1)),
    DroppedEventsCount UInt32 CODEC(ZSTD(1)),
    DroppedLinksCount UInt32 CODEC(ZSTD(1)),
    ResourceDroppedAttributesCount UInt32 CODEC(ZSTD(1)),
    ScopeDroppedAttributesCount UInt32 CODEC(ZSTD(1)),
    -- Nanoseconds by which the span ends before it starts; Duration is 0 then.
    EndBeforeStart UInt64 CODEC(ZSTD(1)),

    -- What blame selects by. Suspect is a superset of "failed": the engine decides what it means.
    IngestTime DateTime64(3) DEFAULT now64(3) CODEC(Delta, ZSTD(1)),
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
        OR has(Events.Name, 'exception') CODEC(ZSTD(1)),

    INDEX idx_trace_id TraceId TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX idx_ingest_time IngestTime TYPE minmax GRANULARITY 1,
    INDEX idx_timestamp Timestamp TYPE minmax GRANULARITY 1,
    INDEX idx_duration Duration TYPE minmax GRANULARITY 1,
    INDEX idx_res_attr_key mapKeys(ResourceAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX idx_res_attr_value mapValues(ResourceAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX idx_span_attr_key mapKeys(SpanAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX idx_span_attr_value mapValues(SpanAttributes) TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toDate(IngestTime)
ORDER BY (ServiceName, SpanName, toDateTime(Timestamp))
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1, non_replicated_deduplication_window = 1000;

-- The exporter's helper for "when was this trace"; hand-written SQL and dashboards read it.
CREATE TABLE IF NOT EXISTS otel_traces_trace_id_ts
(
    TraceId String CODEC(ZSTD(1)),
    Start DateTime CODEC(Delta, ZSTD(1)),
    End DateTime CODEC(Delta, ZSTD(1)),
    IngestDate Date DEFAULT today() CODEC(ZSTD(1)),
    INDEX idx_trace_id TraceId TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY IngestDate
ORDER BY (TraceId, Start)
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1, non_replicated_deduplication_window = 1000;

CREATE MATERIALIZED VIEW IF NOT EXISTS otel_traces_trace_id_ts_mv TO otel_traces_trace_id_ts AS
SELECT TraceId, min(Timestamp) AS Start, max(Timestamp) AS End, toDate(now()) AS IngestDate
FROM otel_traces
WHERE TraceId != ''
GROUP BY TraceId;

-- One row a trace that was judged; a later Version replaces an earlier one, whole. A trace that was
-- judged and found healthy has a row too (no entries): that is how it is known to be done.
-- FirstIngest, the earliest IngestTime of the trace's spans, never changes, so that all versions
-- of a trace lie in one partition.
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
        Body String
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
        ExcessNs Int64,
        Confidence Float64
    ),
    -- One element a service in the trace, of all entries.
    Hops Nested (
        Entry UInt32,
        Service LowCardinality(String),
        Owner LowCardinality(String),
        Role LowCardinality(String)
    ),
    INDEX idx_judged_at JudgedAt TYPE minmax GRANULARITY 1,
    INDEX idx_first_ingest FirstIngest TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(Version)
PARTITION BY toDate(FirstIngest)
ORDER BY TraceId
SETTINGS index_granularity = 1024, ttl_only_drop_parts = 1;
