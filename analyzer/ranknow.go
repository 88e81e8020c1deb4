package analyzer

import (
	"context"
	"errors"
	"time"

	"github.com/whosehop/whosehop/analyzer/blame"
	"github.com/whosehop/whosehop/analyzer/rank"
	"github.com/whosehop/whosehop/analyzer/trace"
	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/storage/spans"
	"github.com/whosehop/whosehop/verdict"
)

const (
	// rankTraces are looked at of the window, and as many of the time before it.
	rankTraces = 1000
	// rankSpansMax is how many spans of each are read.
	rankSpansMax = 2000
)

// RankNow says what is breaking the requests that began in [from, to), compared with as long a time
// before. entry keeps those that came in there; empty means all.
func (a *Analyzer) RankNow(ctx context.Context, from, to time.Time, entry string, limit int) ([]verdict.Suspect, error) {
	ranker := rank.Ranker{Owners: a.owners}
	cfg := blame.Config{Owners: a.owners, Normal: a.known.now()}
	if err := a.sample(ctx, from.Add(from.Sub(to)), from, entry, func(f *trace.Forest) { ranker.Normal(f, blame.Judge(f, cfg)) }); err != nil {
		return nil, err
	}
	if err := a.sample(ctx, from, to, entry, func(f *trace.Forest) { ranker.Window(f, blame.Judge(f, cfg)) }); err != nil {
		return nil, err
	}
	return ranker.Suspects(limit), nil
}

func (a *Analyzer) sample(ctx context.Context, from, to time.Time, entry string, use func(*trace.Forest)) error {
	return a.sampleOf(ctx, from, to, entry, rankTraces, use)
}

// sampleOf gives a sample of the traces of a time to use, which must not keep them.
func (a *Analyzer) sampleOf(ctx context.Context, from, to time.Time, entry string, most int, use func(*trace.Forest)) error {
	ids, err := a.store.SampleTraces(ctx, from, to, entry, most)
	if err != nil {
		return err
	}
	// What a trace did later than that, or by a clock that is further off, is not worth the search in a sample.
	const before, behind = time.Second, 10 * time.Second
	q := storage.TraceQuery{From: from.Add(-before), To: to.Add(behind), ByStart: true, SpansMax: rankSpansMax}
	return a.readSome(ctx, a.store, q, ids, func(builder *trace.Builder, rows []uint32) { use(builder.Build(rows, rankSpansMax)) })
}

type spanReader interface {
	ReadTraces(ctx context.Context, q storage.TraceQuery, b *spans.Block) error
}

// readSome reads traces, no more at once than there is memory for, and gives each to use. Of giants it reads no more than
// q.SpansMax spans; ClickHouse must sort all for that, and only does where they did not fit. What does not fit even so is left out.
func (a *Analyzer) readSome(ctx context.Context, from spanReader, q storage.TraceQuery, ids []spans.TraceID, use func(*trace.Builder, []uint32)) error {
	block := a.blocks.Get().(*spans.Block)
	defer a.blocks.Put(block)
	const sortedMost = 500 // traces
	spansMax := q.SpansMax
	q.Keep, q.BytesMax, q.SpansMax = trace.Reads, a.batchBytes(false)/int64(len(a.shards)), 0
	for n := len(ids); len(ids) > 0; {
		n = min(n, len(ids))
		block.Reset()
		q.IDs = ids[:n]
		err := from.ReadTraces(ctx, q, block)
		if errors.Is(err, storage.ErrTooLarge) {
			if n == 1 && q.SpansMax > 0 {
				ids = ids[1:]
			}
			if n = max(1, n/2); n <= sortedMost {
				q.SpansMax = spansMax
			}
			continue
		}
		if err != nil {
			return err
		}
		a.learnSize(block)
		ids = ids[n:]
		builder := trace.NewBuilder(block)
		for _, g := range trace.Group(block) {
			use(builder, g.Rows)
		}
	}
	return nil
}
