-- The analyzers that run: the newest row of each says when it was last there, or that it has left.
CREATE TABLE IF NOT EXISTS analyzer_members
(
    Name String,
    At DateTime64(3) DEFAULT now64(3),
    Gone Bool
)
ENGINE = ReplacingMergeTree(At)
ORDER BY Name
TTL toDateTime(At) + INTERVAL 1 HOUR;
