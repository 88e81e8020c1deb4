package store

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/whosehop/whosehop/benchmarks/load"
	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/storage/native"
	"github.com/whosehop/whosehop/storage/spans"
)

const day = 24 * time.Hour

// staging gives spans the time of ingestion that they would have had: the table itself takes the time at which it gets
// them.
const staging = `DROP DATABASE IF EXISTS staging SYNC;
CREATE DATABASE staging;
CREATE TABLE staging.otel_traces ENGINE = Null EMPTY AS SELECT * FROM whosehop.otel_traces;
CREATE MATERIALIZED VIEW staging.at_its_time TO whosehop.otel_traces AS
	SELECT * EXCEPT Stored REPLACE (toDateTime64(Stored, 3) AS IngestTime, toDate(Stored) AS IngestDate) FROM (
		SELECT *, toStartOfInterval(toDateTime(Timestamp) + toIntervalSecond(intDiv(Duration, 1000000000)), INTERVAL %[1]d SECOND) + INTERVAL %[1]d SECOND AS Stored
		FROM staging.otel_traces)`

// AtItsTime opens a table through which spans get into whosehop's, which is there, as if what had ended had been stored
// every so often.
func (s *Store) AtItsTime(ctx context.Context, every time.Duration) (*storage.DB, error) {
	if err := s.Run(ctx, fmt.Sprintf(staging, int(every.Seconds()))); err != nil {
		return nil, err
	}
	return s.Open(ctx, "staging")
}

// FillDay stores spans in whosehop's table, which is there, with times that are spread over a day, in their order.
// The day ended so long ago.
func (s *Store) FillDay(ctx context.Context, payload *load.Payload, total int, ago time.Duration) error {
	door, err := s.AtItsTime(ctx, 2*time.Minute)
	if err != nil {
		return err
	}
	defer func() { _ = door.Close() }()
	source := payload.Source()
	var block spans.Block
	encoder := new(native.Encoder)
	var p native.Packed
	for sent := 0; sent < total; {
		if err := source.Fill(&block, 65_536); err != nil {
			return err
		}
		back := int64(ago+day) - int64(float64(day)*float64(sent)/float64(total))
		spread := int64(float64(day) * 65_536 / float64(total))
		for i := range block.StartNs {
			shift := back - spread*int64(i)/int64(block.Len())
			block.StartNs[i] -= shift
			block.EndNs[i] -= shift
		}
		p.ID, p.At = uint64(source.Taken()), time.Now()
		encoder.Encode(&block, &p)
		if err := door.InsertBlock(ctx, &p, false); err != nil {
			return err
		}
		sent += p.Rows
		if sent%(65_536*50) == 0 {
			fmt.Fprintf(os.Stderr, "\r%d of %d million spans", sent/1e6, total/1e6)
		}
	}
	fmt.Fprintln(os.Stderr)
	return nil
}
