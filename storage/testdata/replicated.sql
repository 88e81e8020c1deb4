CREATE TABLE IF NOT EXISTS otel_traces_local (
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
    EndBeforeStart UInt64 ALIAS JSONExtract(Extras, 'endBeforeStart', 'UInt64'),
    EventsDroppedAttributesCount Array(UInt32) ALIAS JSONExtract(Extras, 'eventsDroppedAttributes', 'Array(UInt32)'),
    LinksDroppedAttributesCount Array(UInt32) ALIAS JSONExtract(Extras, 'linksDroppedAttributes', 'Array(UInt32)'),
    LinksFlags Array(UInt32) ALIAS JSONExtract(Extras, 'linksFlags', 'Array(UInt32)'),
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
    Block UInt64 CODEC(LZ4),
    INDEX idx_ingest_time IngestTime TYPE minmax GRANULARITY 1,
    INDEX idx_timestamp Timestamp TYPE minmax GRANULARITY 1,
    INDEX idx_duration Duration TYPE minmax GRANULARITY 1,
    INDEX idx_span_attr_key mapKeys(SpanAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX idx_span_attr_value mapValues(SpanAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
    PROJECTION by_trace INDEX TraceId TYPE basic
)
ENGINE = ReplicatedMergeTree('/whosehop/main/whosehop/2/otel_traces', 'ch-2-1')
PARTITION BY IngestDate
ORDER BY (ServiceName, SpanName, IngestTime)
SETTINGS index_granularity = 4096, ttl_only_drop_parts = 1, replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800,
    min_parts_to_merge_at_once = 32, min_bytes_for_wide_part = 100000000,
    min_age_to_force_merge_seconds = 3600, min_age_to_force_merge_on_partition_only = 1, enable_max_bytes_limit_for_min_age_to_force_merge = 1,
    min_compress_block_size = 16384, max_compress_block_size = 65536;
CREATE TABLE IF NOT EXISTS otel_traces AS otel_traces_local ENGINE = Distributed('main', currentDatabase(), 'otel_traces_local', cityHash64(TraceId));
CREATE VIEW IF NOT EXISTS otel_traces_trace_id_ts AS
SELECT TraceId, toDateTime(min(Timestamp)) AS Start, toDateTime(max(Timestamp)) AS End
FROM otel_traces
WHERE TraceId != ''
GROUP BY TraceId;
CREATE VIEW IF NOT EXISTS otel_traces_trace_id_ts_mv AS SELECT * FROM otel_traces_trace_id_ts;
CREATE TABLE IF NOT EXISTS verdicts_local (
    TraceId String,
    Version UInt32,
    FirstIngest DateTime64(3),
    SpanRows UInt64,
    LastIngest DateTime64(3),
    JudgedAt DateTime64(3) DEFAULT now64(3),
    Rules LowCardinality(String),
    Entries Nested (
        Service LowCardinality(String),
        Operation LowCardinality(String),
        SpanId String,
        Start DateTime64(9),
        DurationNs Int64,
        Symptom LowCardinality(String),
        Summary String,
        Body String,
        Represents Float64,
        Cause LowCardinality(String),
        ExcessNs Int64
    ),
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
        Amount Int64,
        Stored Int64,
        ExcessNs Int64,
        Confidence Float64,
        Fingerprint LowCardinality(String),
        Version LowCardinality(String),
        Via LowCardinality(String),
        Target LowCardinality(String)
    ),
    Hops Nested (
        Entry UInt32,
        Service LowCardinality(String),
        Owner LowCardinality(String),
        Role LowCardinality(String),
        Suffered Bool
    ),
    FirstStart DateTime64(9) MATERIALIZED arrayMin(Entries.Start),
    LastStart DateTime64(9) MATERIALIZED arrayMax(Entries.Start),
    INDEX idx_trace_id TraceId TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX idx_judged_at JudgedAt TYPE minmax GRANULARITY 1,
    INDEX idx_first_start FirstStart TYPE minmax GRANULARITY 1,
    INDEX idx_last_start LastStart TYPE minmax GRANULARITY 1
)
ENGINE = ReplicatedReplacingMergeTree('/whosehop/main/whosehop/2/verdicts', 'ch-2-1', Version)
PARTITION BY toDate(FirstIngest)
ORDER BY (toStartOfHour(FirstIngest, 'UTC'), TraceId)
SETTINGS index_granularity = 1024, ttl_only_drop_parts = 1, min_parts_to_merge_at_once = 10,
    min_age_to_force_merge_seconds = 3600, min_age_to_force_merge_on_partition_only = 1;
CREATE TABLE IF NOT EXISTS verdicts AS verdicts_local ENGINE = Distributed('main', currentDatabase(), 'verdicts_local', cityHash64(TraceId));
CREATE TABLE IF NOT EXISTS analyzer_progress_local (
    Name String,
    ScannedTo DateTime64(3),
    UpdatedAt DateTime64(3) DEFAULT now64(3)
)
ENGINE = ReplicatedReplacingMergeTree('/whosehop/main/whosehop/2/analyzer_progress', 'ch-2-1', UpdatedAt)
ORDER BY Name;
CREATE TABLE IF NOT EXISTS baseline_local (
    Kind UInt8,
    Key1 LowCardinality(String),
    Key2 String,
    Key3 String,
    Key4 String,
    Failed Bool,
    At DateTime,
    Counts SimpleAggregateFunction(sumMap, Tuple(Array(Int32), Array(Int64))),
    Low SimpleAggregateFunction(min, Int64),
    High SimpleAggregateFunction(max, Int64)
)
ENGINE = ReplicatedAggregatingMergeTree('/whosehop/main/whosehop/2/baseline', 'ch-2-1')
PARTITION BY toDate(At)
ORDER BY (Kind, Key1, Key2, Key3, Key4, Failed, At)
TTL At + INTERVAL 14 DAY
SETTINGS replicated_deduplication_window = 1000, replicated_deduplication_window_seconds = 604800;
CREATE TABLE IF NOT EXISTS baseline AS baseline_local ENGINE = Distributed('main', currentDatabase(), 'baseline_local', rand());
CREATE TABLE IF NOT EXISTS baseline_recent_local (
    Kind UInt8,
    Key1 LowCardinality(String),
    Key2 String,
    Key3 String,
    Key4 String,
    Failed Bool,
    Minute Int64,
    At DateTime,
    Counts SimpleAggregateFunction(sumMap, Tuple(Array(Int32), Array(Int64))),
    Low SimpleAggregateFunction(min, Int64),
    High SimpleAggregateFunction(max, Int64)
)
ENGINE = ReplicatedAggregatingMergeTree('/whosehop/main/whosehop/2/baseline_recent', 'ch-2-1')
PARTITION BY At
ORDER BY (Kind, Key1, Key2, Key3, Key4, Failed, Minute, At)
TTL At + INTERVAL 4 HOUR
SETTINGS ttl_only_drop_parts = 1, replicated_deduplication_window = 1000, replicated_deduplication_window_seconds = 604800;
CREATE TABLE IF NOT EXISTS baseline_recent AS baseline_recent_local ENGINE = Distributed('main', currentDatabase(), 'baseline_recent_local', rand());
CREATE TABLE IF NOT EXISTS analyzer_members_local (
    Name String,
    At DateTime64(3) DEFAULT now64(3),
    Gone Bool
)
ENGINE = ReplicatedReplacingMergeTree('/whosehop/main/whosehop/2/analyzer_members', 'ch-2-1', At)
ORDER BY Name
TTL toDateTime(At) + INTERVAL 1 HOUR;
CREATE TABLE IF NOT EXISTS owner_records_local (
    Set LowCardinality(String),
    Position UInt32,
    Version UInt64,
    Records UInt32,
    Kind LowCardinality(String),
    Name String,
    Owner LowCardinality(String),
    ValidFrom DateTime64(3, 'UTC'),
    ValidUntil DateTime64(3, 'UTC'),
    Record String CODEC(ZSTD(1))
)
ENGINE = ReplicatedReplacingMergeTree('/whosehop/main/whosehop/2/owner_records', 'ch-2-1', Version)
ORDER BY (Set, Position);
CREATE TABLE IF NOT EXISTS blame_hourly_local (
    Shard UInt16,
    Hour DateTime('UTC'),
    Version UInt64,
    Part LowCardinality(String),
    At DateTime('UTC'),
    Owner LowCardinality(String),
    Kind LowCardinality(String),
    Service LowCardinality(String),
    Operation LowCardinality(String),
    Caller LowCardinality(String),
    Callee LowCardinality(String),
    Phase LowCardinality(String),
    Peer LowCardinality(String),
    Accountable LowCardinality(String),
    Rule LowCardinality(String),
    Class LowCardinality(String),
    ErrorType LowCardinality(String),
    Fingerprint LowCardinality(String),
    ServiceVersion LowCardinality(String),
    Via LowCardinality(String),
    Target LowCardinality(String),
    Cause LowCardinality(String),
    EntryService LowCardinality(String),
    EntryOperation LowCardinality(String),
    Symptom LowCardinality(String),
    Amount Int64,
    Stored Int64,
    ExcessNs Int64,
    FirstNs Int64,
    LastNs Int64,
    Exemplar String,
    INDEX idx_at At TYPE minmax GRANULARITY 1
)
ENGINE = ReplicatedMergeTree('/whosehop/main/whosehop/2/blame_hourly', 'ch-2-1')
PARTITION BY toYYYYMM(Hour)
ORDER BY (Owner, Hour, Part)
SETTINGS index_granularity = 1024, replicated_deduplication_window = 1000, replicated_deduplication_window_seconds = 604800;
CREATE TABLE IF NOT EXISTS blame_hourly AS blame_hourly_local ENGINE = Distributed('main', currentDatabase(), 'blame_hourly_local', rand());
CREATE TABLE IF NOT EXISTS blame_hours_local (
    Shard UInt16,
    Hour DateTime('UTC'),
    Version UInt64,
    MadeAt DateTime64(3)
)
ENGINE = ReplicatedReplacingMergeTree('/whosehop/main/whosehop/2/blame_hours', 'ch-2-1', Version)
ORDER BY (Shard, Hour);
CREATE TABLE IF NOT EXISTS blame_hours AS blame_hours_local ENGINE = Distributed('main', currentDatabase(), 'blame_hours_local', rand());
CREATE TABLE IF NOT EXISTS traffic_local (
    At DateTime('UTC'),
    Kind LowCardinality(String),
    Service LowCardinality(String),
    Name String,
    Type LowCardinality(String),
    Status LowCardinality(String),
    Hash UInt64,
    Resource Map(LowCardinality(String), String),
    Calls UInt64,
    Failed UInt64,
    Entries UInt64,
    DurationNs UInt64,
    Buckets Array(UInt64),
    ServerNs UInt64,
    ServerBuckets Array(UInt64),
    First DateTime64(3),
    Last DateTime64(3),
    MadeAt DateTime64(3) DEFAULT now64(3)
)
ENGINE = ReplicatedReplacingMergeTree('/whosehop/main/whosehop/2/traffic', 'ch-2-1', MadeAt)
PARTITION BY toMonday(At)
ORDER BY (Kind, At, Service, Name, Type, Status, Hash)
SETTINGS index_granularity = 1024, ttl_only_drop_parts = 1;
CREATE TABLE IF NOT EXISTS traffic AS traffic_local ENGINE = Distributed('main', currentDatabase(), 'traffic_local', rand());
CREATE TABLE IF NOT EXISTS traffic_recent_local (
    At DateTime('UTC'),
    Kind LowCardinality(String),
    Service LowCardinality(String),
    Name String,
    Type LowCardinality(String),
    Status LowCardinality(String),
    Hash UInt64,
    Resource Map(LowCardinality(String), String),
    Calls UInt64,
    Failed UInt64,
    Entries UInt64,
    DurationNs UInt64,
    Buckets Array(UInt64),
    ServerNs UInt64,
    ServerBuckets Array(UInt64),
    First DateTime64(3),
    Last DateTime64(3),
    MadeAt DateTime64(3) DEFAULT now64(3)
)
ENGINE = ReplicatedReplacingMergeTree('/whosehop/main/whosehop/2/traffic_recent', 'ch-2-1', MadeAt)
PARTITION BY toStartOfHour(At)
ORDER BY (Kind, At, Service, Name, Type, Status, Hash)
TTL At + INTERVAL 4 HOUR
SETTINGS index_granularity = 1024, ttl_only_drop_parts = 1;
CREATE TABLE IF NOT EXISTS traffic_recent AS traffic_recent_local ENGINE = Distributed('main', currentDatabase(), 'traffic_recent_local', rand());
CREATE TABLE IF NOT EXISTS verdict_reviews_local (
    TraceId String,
    EntrySpanId String,
    At DateTime64(6, 'UTC'),
    Kind LowCardinality(String),
    Author String,
    Why String,
    Version UInt32,
    Rule LowCardinality(String),
    Owner LowCardinality(String),
    Summary String,
    INDEX idx_at At TYPE minmax GRANULARITY 1
)
ENGINE = ReplicatedMergeTree('/whosehop/main/whosehop/2/verdict_reviews', 'ch-2-1')
PARTITION BY toYYYYMM(At)
ORDER BY (TraceId, EntrySpanId, At);
CREATE TABLE IF NOT EXISTS verdict_reviews AS verdict_reviews_local ENGINE = Distributed('main', currentDatabase(), 'verdict_reviews_local', cityHash64(TraceId));
