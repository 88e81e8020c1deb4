package storage

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
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

// WriteBaseline adds cells to the stored baseline, as learnt at a time. A second time with the same token
// adds nothing, so that a write whose answer was lost can be repeated, and several analyzers that learn the
// same do not count it twice.
func (db *DB) WriteBaseline(ctx context.Context, cells []BaselineCell, at time.Time, token string) error {
	hour := at.UTC().Truncate(time.Hour)
	var lasting, recent []*BaselineCell
	for i := range cells {
		if c := &cells[i]; c.Minute == 0 {
			lasting = append(lasting, c)
		} else {
			recent = append(recent, c)
		}
	}
	if err := db.writeCells(ctx, db.table("baseline")+" (Kind, Key1, Key2, Key3, Key4, Failed, At, Counts, Low, High)", lasting, hour, token); err != nil {
		return wrap("write the baseline", err)
	}
	return wrap("write the baseline of late",
		db.writeCells(ctx, db.table("baseline_recent")+" (Kind, Key1, Key2, Key3, Key4, Failed, At, Counts, Low, High, Minute)", recent, hour, token))
}

func (db *DB) writeCells(ctx context.Context, into string, cells []*BaselineCell, hour time.Time, token string) error {
	if len(cells) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{
		"async_insert": 0, "insert_deduplicate": 1, "insert_deduplication_token": clickhouse.CustomSetting{Value: token},
		// One write stays one block, which is what is told apart by the token; the hour makes it one partition.
		"max_insert_block_size": 10_000_000, "min_insert_block_size_rows": 10_000_000, "min_insert_block_size_bytes": 0,
	}))
	batch, err := db.conn.PrepareBatch(ctx, "INSERT INTO "+into)
	if err != nil {
		return err
	}
	defer func() { _ = batch.Abort() }() // nothing once it is sent
	for _, c := range cells {
		keys := slices.Sorted(maps.Keys(c.Counts))
		values := make([]int64, len(keys))
		for k, key := range keys {
			values[k] = c.Counts[key]
		}
		row := []any{c.Kind, c.Key[0], c.Key[1], c.Key[2], c.Key[3], c.Failed, hour, []any{keys, values}, c.Low, c.High}
		if c.Minute != 0 {
			row = append(row, c.Minute)
		}
		if err := batch.Append(row...); err != nil {
			return err
		}
	}
	return batch.Send()
}

// BaselineQuery says which cells are summed.
type BaselineQuery struct {
	// Recent is how far back cells that are about a minute are read.
	Recent time.Duration
	// Of the kinds in Histograms only what was learnt at this hour of the week counts, where that is at
	// least SameTimeMin samples: mornings are not nights, and Sundays no Mondays.
	Histograms  []uint8
	SameTimeMin int64
	// CellsMost bounds the cells that are read: those with the most in them, and the latest of those that
	// are about a minute.
	CellsMost int
}

// ReadBaseline gives the sums of the stored cells to add, those with the most in them first, by which a
// baseline that is full has what matters.
func (db *DB) ReadBaseline(ctx context.Context, q BaselineQuery, add func(*BaselineCell)) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	kinds := make([]uint16, 0, len(q.Histograms)) // a list of bytes would be sent as text
	for _, kind := range q.Histograms {
		kinds = append(kinds, uint16(kind))
	}
	rows, err := db.conn.Query(ctx, `SELECT Kind, Key1, Key2, Key3, Key4, Failed, toInt64(0), min(Low), max(High),
			sumMap(Counts) AS Total,
			sumMapIf(Counts, toDayOfWeek(At) = toDayOfWeek(now()) AND toHour(At) = toHour(now())) AS SameTime,
			if(has(?, Kind) AND arraySum(SameTime.2) >= ?, SameTime, Total)
		FROM `+db.table("baseline")+`
		GROUP BY Kind, Key1, Key2, Key3, Key4, Failed
		ORDER BY empty(Total.1) DESC, arraySum(Total.2) DESC LIMIT ?`, kinds, q.SameTimeMin, q.CellsMost)
	if err != nil {
		return wrap("read the baseline", err)
	}
	if err := scanCells(rows, add); err != nil {
		return wrap("read the baseline", err)
	}
	rows, err = db.conn.Query(ctx, `SELECT Kind, Key1, Key2, Key3, Key4, Failed, Minute, min(Low), max(High),
			sumMap(Counts) AS Total, Total, Total
		FROM `+db.table("baseline_recent")+` WHERE At > now() - toIntervalSecond(?) - INTERVAL 1 HOUR
		GROUP BY Kind, Key1, Key2, Key3, Key4, Failed, Minute
		ORDER BY Minute DESC LIMIT ?`, int64(q.Recent.Seconds()), q.CellsMost)
	if err != nil {
		return wrap("read the baseline of late", err)
	}
	return wrap("read the baseline of late", scanCells(rows, add))
}

func scanCells(rows driver.Rows, add func(*BaselineCell)) error {
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var c BaselineCell
		var total, sameTime, counts []any
		if err := rows.Scan(&c.Kind, &c.Key[0], &c.Key[1], &c.Key[2], &c.Key[3], &c.Failed, &c.Minute, &c.Low, &c.High, &total, &sameTime, &counts); err != nil {
			return err
		}
		keys, _ := counts[0].([]int32)
		values, _ := counts[1].([]int64)
		c.Counts = make(map[int32]int64, len(keys))
		for k := range keys {
			c.Counts[keys[k]] = values[k]
		}
		add(&c)
	}
	return rows.Err()
}
