package store

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/whosehop/whosehop/benchmarks/load"
	"github.com/whosehop/whosehop/storage/native"
	"github.com/whosehop/whosehop/storage/spans"
)

const day = 24 * time.Hour

// staging gives spans the time of ingestion that they would have had, two minutes late at most: the table itself
// takes the time at which it gets them.
const staging = `CREATE DATABASE staging;
CREATE TABLE staging.otel_traces ENGINE = Null EMPTY AS SELECT * FROM whosehop.otel_traces;
CREATE MATERIALIZED VIEW staging.at_its_time TO whosehop.otel_traces AS
	SELECT * REPLACE (toDateTime64(toStartOfInterval(Timestamp, INTERVAL 2 MINUTE) + INTERVAL 2 MINUTE, 3) AS IngestTime,
		toDate(toStartOfInterval(Timestamp, INTERVAL 2 MINUTE) + INTERVAL 2 MINUTE) AS IngestDate) FROM staging.otel_traces`

// FillDay stores spans in whosehop's table, which is there, with times that are spread over a day, in their order.
// The day ended so long ago.
func (s *Store) FillDay(ctx context.Context, payload *load.Payload, total int, ago time.Duration) error {
	if err := s.Run(ctx, staging); err != nil {
		return err
	}
	door, err := s.Open(ctx, "staging")
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
