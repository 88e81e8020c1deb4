package storage

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// BaselineCell is a part of what is normal that adds up; the analyzer knows what it means.
type BaselineCell struct {
	Kind      uint8
	Key       [4]string
	Failed    bool
	Minute    int64 // the Unix minute that it is about, 0 for none
	Counts    map[int32]int64
	Low, High int64
}

// WriteBaseline adds cells to the stored baseline. A second time with the same token adds nothing, so
// that a write whose answer was lost can be repeated.
func (db *DB) WriteBaseline(ctx context.Context, cells []BaselineCell, at time.Time, token string) error {
	if len(cells) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{
		"insert_deduplicate": 1, "insert_deduplication_token": clickhouse.CustomSetting{Value: token},
		// One write stays one block in each partition, which is what is told apart by the token.
		"max_insert_block_size": 10_000_000, "min_insert_block_size_rows": 10_000_000, "min_insert_block_size_bytes": 0,
	}))
	batch, err := db.conn.PrepareBatch(ctx, "INSERT INTO baseline (Kind, Key1, Key2, Key3, Key4, Failed, At, Counts, Low, High)")
	if err != nil {
		return wrap("write the baseline", err)
	}
	defer func() { _ = batch.Abort() }() // nothing once it is sent
	hour := at.Truncate(time.Hour)
	for i := range cells {
		c := &cells[i]
		of := hour
		if c.Minute != 0 {
			of = time.Unix(c.Minute*60, 0).UTC()
		}
		keys := slices.Sorted(maps.Keys(c.Counts))
		values := make([]int64, len(keys))
		for k, key := range keys {
			values[k] = c.Counts[key]
		}
		if err := batch.Append(c.Kind, c.Key[0], c.Key[1], c.Key[2], c.Key[3], c.Failed, of, []any{keys, values}, c.Low, c.High); err != nil {
			return wrap("write the baseline", err)
		}
	}
	return wrap("write the baseline", batch.Send())
}

// BaselineQuery says which cells are summed.
type BaselineQuery struct {
	// Cells of a kind from ByMinute on are kept apart by their minute, and those older than Recent left out.
	ByMinute uint8
	Recent   time.Duration
	// Of the kinds in Histograms only what was learnt at this hour of the week counts, where that is at
	// least SameTimeMin samples: mornings are not nights, and Sundays no Mondays.
	Histograms  []uint8
	SameTimeMin int64
}

// ReadBaseline gives the sums of the stored cells to add.
func (db *DB) ReadBaseline(ctx context.Context, q BaselineQuery, add func(*BaselineCell)) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	kinds := make([]uint16, 0, len(q.Histograms)) // a list of bytes would be sent as text
	for _, kind := range q.Histograms {
		kinds = append(kinds, uint16(kind))
	}
	rows, err := db.conn.Query(ctx, `SELECT Kind, Key1, Key2, Key3, Key4, Failed, if(Kind >= ?, toUnixTimestamp(At), 0) AS Second,
			sumMap(Counts) AS Total, min(Low), max(High),
			sumMapIf(Counts, toDayOfWeek(At) = toDayOfWeek(now()) AND toHour(At) = toHour(now())) AS SameTime,
			if(has(?, Kind) AND arraySum(SameTime.2) >= ?, SameTime, Total)
		FROM baseline WHERE Kind < ? OR At >= now() - toIntervalSecond(?)
		GROUP BY Kind, Key1, Key2, Key3, Key4, Failed, Second`,
		q.ByMinute, kinds, q.SameTimeMin, q.ByMinute, int64(q.Recent.Seconds()))
	if err != nil {
		return wrap("read the baseline", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var c BaselineCell
		var second uint32
		var total, sameTime, counts []any
		if err := rows.Scan(&c.Kind, &c.Key[0], &c.Key[1], &c.Key[2], &c.Key[3], &c.Failed, &second, &total, &c.Low, &c.High, &sameTime, &counts); err != nil {
			return wrap("read the baseline", err)
		}
		c.Minute = int64(second) / 60
		keys, _ := counts[0].([]int32)
		values, _ := counts[1].([]int64)
		c.Counts = make(map[int32]int64, len(keys))
		for k := range keys {
			c.Counts[keys[k]] = values[k]
		}
		add(&c)
	}
	return wrap("read the baseline", rows.Err())
}
