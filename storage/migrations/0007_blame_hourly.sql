-- What was caused and suffered, hour by hour: what is asked of verdicts over days and years is answered from here.
--
-- An hour is that of FirstIngest, which never changes: all versions of a trace's verdict are of one hour. An hour is made
-- from its verdicts as a whole, and made again, as a whole, when one of them was replaced or came late: its rows have the Version
-- of their making, and what counts is that of the newest row of the hour in blame_hours, written when all are there. So a
-- trace counts once, and nothing has to be taken back.
--
-- Part is caused or suffered. Amount is in millionths of a request, by what samplers say; Stored as if each request stood for
-- itself alone. At is the hour in which the requests began, by their own clock.
CREATE TABLE IF NOT EXISTS blame_hourly
(
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
    -- The service.version of who must act.
    ServiceVersion LowCardinality(String),
    -- Of what is no edge: the service that called the site, and what the call went to that went wrong.
    Via LowCardinality(String),
    Target LowCardinality(String),
    -- Of what was suffered: the owner of the largest share.
    Cause LowCardinality(String),
    EntryService LowCardinality(String),
    EntryOperation LowCardinality(String),
    Symptom LowCardinality(String),
    Amount Int64,
    Stored Int64,
    ExcessNs Int64,
    -- Of the requests: when the first and the last one began, in Unix nanoseconds, and the last one's trace.
    FirstNs Int64,
    LastNs Int64,
    Exemplar String,
    INDEX idx_at At TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(Hour)
ORDER BY (Owner, Hour, Part)
SETTINGS index_granularity = 1024, non_replicated_deduplication_window = 1000;

-- The makings of hours. A row of the hour 1970 says that up to MadeAt all hours were looked at.
CREATE TABLE IF NOT EXISTS blame_hours
(
    Shard UInt16,
    Hour DateTime('UTC'),
    Version UInt64,
    -- When the verdicts were looked at that it was made of: what was judged after that is not in it.
    MadeAt DateTime64(3)
)
ENGINE = ReplacingMergeTree(Version)
ORDER BY (Shard, Hour);
