-- What people said of verdicts: that they hold, or that they do not and why. Nothing is changed or taken away: of those on one entry
-- of a trace the newest counts. Rule and Owner are those of the verdict's main share as it was then, Version its version.
CREATE TABLE IF NOT EXISTS verdict_reviews
(
    TraceId String,
    EntrySpanId String,
    At DateTime64(6, 'UTC'),
    Kind LowCardinality(String),
    -- Who says so, as they call themselves, and why.
    Author String,
    Why String,
    Version UInt32,
    Rule LowCardinality(String),
    Owner LowCardinality(String),
    Summary String,
    INDEX idx_at At TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(At)
ORDER BY (TraceId, EntrySpanId, At);
