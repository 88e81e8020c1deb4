-- How far the analyzers have come: everything that was ingested before ScannedTo has been judged.
CREATE TABLE IF NOT EXISTS analyzer_progress
(
    Name String,
    ScannedTo DateTime64(3),
    UpdatedAt DateTime64(3) DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(UpdatedAt)
ORDER BY Name;
