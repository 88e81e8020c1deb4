-- What is normal, as states that add up: rows of several analyzers merge. At is the hour that a row was
-- learnt in.
CREATE TABLE IF NOT EXISTS baseline
(
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
ENGINE = AggregatingMergeTree
PARTITION BY toDate(At)
ORDER BY (Kind, Key1, Key2, Key3, Key4, Failed, At)
TTL At + INTERVAL 14 DAY
SETTINGS non_replicated_deduplication_window = 1000;
