-- What was seen minute by minute: the baseline's part that is of use for three hours. Minute is what spans
-- say, Hour when it was learnt: partitions and expiry go by that, for clocks of spans may say anything.
CREATE TABLE IF NOT EXISTS baseline_recent
(
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
ENGINE = AggregatingMergeTree
PARTITION BY At
ORDER BY (Kind, Key1, Key2, Key3, Key4, Failed, Minute, At)
TTL At + INTERVAL 4 HOUR
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 1000;
