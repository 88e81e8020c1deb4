package analyzer

import (
	"context"
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
	// rankRead is how many of them are read at once, rankSpansMax how many spans of each.
	rankRead     = 50
	rankSpansMax = 2000
)

// RankNow says what is breaking the requests that began in [from, to), compared with as long a time
// before. entry keeps those that came in there; empty means all.
func (a *Analyzer) RankNow(ctx context.Context, from, to time.Time, entry string, limit int) ([]verdict.Suspect, error) {
	ranker := rank.Ranker{Owner: a.owner}
	cfg := blame.Config{Owner: a.owner, Normal: a.known.now()}
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
	block := a.blocks.Get().(*spans.Block)
	defer a.blocks.Put(block)
	for len(ids) > 0 {
		n := min(rankRead, len(ids))
		block.Reset()
		if err := a.store.ReadTraces(ctx, storage.TraceQuery{IDs: ids[:n], SpansMax: rankSpansMax, Keep: trace.Reads}, block); err != nil {
			return err
		}
		ids = ids[n:]
		for _, g := range trace.Group(block) {
			use(trace.Build(block, g.Rows, rankSpansMax))
		}
	}
	return nil
}
