-- What is called, by the hour of its storing. Rows say what is true of an hour and a shard as a whole: they are made again, and replaced, never
-- added to. Kind says what a row is about, and which columns have what:
--   made       the hour is there as a whole; Calls is how many spans were stored in it
--   service    Service, its version in Name, and a Resource that it has (Hash tells them apart); Calls is spans
--   operation  Service, the span's name, its kind in Type, Status
--   edge       the caller in Service, the callee in Name, and in Type what is between them, as Tempo has it: nothing, messaging_system,
--              database, or virtual_node (one of the two sends no spans)
-- Calls and Failed are requests: of traces that were sampled when they began, as many as each stands for.
-- Buckets count durations up to 1 ms, 2 ms, 4 ms, and so on up to 16.384 s, and those above. Of an edge, Buckets and DurationNs are
-- what the caller saw, ServerBuckets and ServerNs what the callee did.
CREATE TABLE IF NOT EXISTS traffic
(
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
    -- How many of the calls were a trace's first span.
    Entries UInt64,
    DurationNs UInt64,
    Buckets Array(UInt64),
    ServerNs UInt64,
    ServerBuckets Array(UInt64),
    -- When the first and the last span was stored, of a service.
    First DateTime64(3),
    Last DateTime64(3),
    MadeAt DateTime64(3) DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(MadeAt)
PARTITION BY toMonday(At)
ORDER BY (Kind, At, Service, Name, Type, Status, Hash)
SETTINGS index_granularity = 1024, ttl_only_drop_parts = 1;
-- The same by the minute, of the last hours.
CREATE TABLE IF NOT EXISTS traffic_recent
(
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
ENGINE = ReplacingMergeTree(MadeAt)
PARTITION BY toStartOfHour(At)
ORDER BY (Kind, At, Service, Name, Type, Status, Hash)
TTL At + INTERVAL 4 HOUR
SETTINGS index_granularity = 1024, ttl_only_drop_parts = 1;
