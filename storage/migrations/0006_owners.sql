-- Who owns what, as it was applied: one row a record, in the order in which they were given. A version of a set is whole: what
-- counts is all rows of the newest Version of each Set, and rows in the same place of earlier ones go when parts are merged. An apply is one
-- insert of one block into one partition, there as a whole or not at all. Records is how many rows the version has, by which a
-- reader knows that it has them all; a version without any has one row, which says 0.
--
-- Record is the JSON that is read back, with when it holds and what the source says beside; the columns before it are for
-- people who look for something: what is now owned by a team is
--   SELECT Kind, Name FROM owner_records WHERE Owner = 'team-payments' AND ValidUntil = toDateTime64(0, 3, 'UTC')
--     AND (Set, Version) IN (SELECT Set, max(Version) FROM owner_records GROUP BY Set)
CREATE TABLE IF NOT EXISTS owner_records
(
    Set LowCardinality(String),
    Position UInt32,
    Version UInt64,
    Records UInt32,
    Kind LowCardinality(String),
    Name String,
    Owner LowCardinality(String),
    -- The bounds of when it holds; 1970-01-01 00:00:00 is none.
    ValidFrom DateTime64(3, 'UTC'),
    ValidUntil DateTime64(3, 'UTC'),
    Record String CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(Version)
ORDER BY (Set, Position);
