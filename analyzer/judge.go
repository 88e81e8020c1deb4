package analyzer

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sync/errgroup"

	"github.com/whosehop/whosehop/analyzer/blame"
	"github.com/whosehop/whosehop/analyzer/trace"
	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/storage/spans"
)

const (
	// batchRange is how much time one read looks through at most, unless a single trace needs more. Of the past, where all is
	// there already, little traffic over a long time would else be read in many small batches; verdicts of a batch are
	// inserted together, and each day is a partition.
	batchRange, batchRangePast = 2 * time.Minute, 24 * time.Hour
	// visibleSlack is looked back beyond the first span that is known of a trace: others may have become visible
	// after it that were stored before.
	visibleSlack = 5 * time.Second
	// lookBackMax bounds how far before its first known span the others are looked for, when the trace says that it
	// began long ago.
	lookBackMax = time.Hour
	// batchSpansMin is what a batch has at least, if there is as much to do and room for it: of each operation ClickHouse
	// unpacks thousands of spans at once, however few are wanted, and small batches let it do so again and again.
	batchSpansMin = 128 << 10
	// spanBytesAtFirst is what a span is thought to take before any was read, and spanBytesBeside what it takes beside
	// its columns: its place among the rows of its trace, and the room that columns have to grow.
	spanBytesAtFirst, spanBytesBeside = 600, 32
)

// batchBytes is what one batch may take: each worker has one, and so has the second look.
func (a *Analyzer) batchBytes(alone bool) int64 {
	parts := a.cfg.Workers + 1
	if alone {
		parts--
	}
	return a.cfg.BytesMax / int64(parts)
}

// dueMost is how many traces of a window may wait for their judgement: what is known of them takes a quarter of the
// memory that their spans may take, beside it.
func (c *Config) dueMost() int { return int(c.BytesMax / 4 / int64(unsafe.Sizeof(tracked{}))) }

// batchSpans is how many spans to read at once of what is left to do: as many as there is memory for, but such that all
// workers come to the end together, and that who yields does so soon.
func (a *Analyzer) batchSpans(left int64, how *judging) int64 {
	room := a.batchBytes(how.alone) / cmp.Or(a.spanBytes.Load(), spanBytesAtFirst)
	if how.yield {
		left = 0
	}
	return max(1, min(room, max(batchSpansMin, left/int64(cap(how.slots)))))
}

// learnSize notes what the spans of a block have taken, and expects a little more of the next.
func (a *Analyzer) learnSize(b *spans.Block) {
	if n := int64(b.Len()); n > 0 {
		a.spanBytes.Store(b.Bytes()*5/4/n + spanBytesBeside)
	}
}

// judging is how traces are judged.
type judging struct {
	slots  chan struct{} // of batches that are judged at once
	gentle bool          // to others who ask ClickHouse
	yield  bool          // to fresh traces
	fresh  bool          // there may be more of the traces than is known
	alone  bool          // nobody else judges at the same time
	// done is told what each trace was judged on; it is not called by two at once.
	done func(*storage.SettledTrace)
}

// from is when the first span of a trace may have been stored. Of one that has settled, all that is stored has been seen.
func (k *tracked) from(fresh bool) int64 {
	if !fresh {
		return k.firstMs
	}
	return max(min(k.firstMs, k.startNs/1e6)-visibleSlack.Milliseconds(), k.firstMs-lookBackMax.Milliseconds())
}

func sortByTime(due []tracked, fresh bool) {
	slices.SortFunc(due, func(a, b tracked) int { return cmp.Compare(a.from(fresh), b.from(fresh)) })
}

// judge judges traces, which are sorted by time, and stores the verdicts, batch by batch.
func (s *shard) judge(ctx context.Context, due []tracked, how judging) error {
	group, ctx := errgroup.WithContext(ctx)
	var mu sync.Mutex
	left, within := int64(0), batchRange
	if how.alone {
		within = batchRangePast
	}
	for i := range due {
		left += due[i].rows
	}
	for len(due) > 0 && ctx.Err() == nil {
		most := s.batchSpans(left, &how)
		n, rows := 0, int64(0)
		for n < len(due) && (n == 0 || rows+due[n].rows <= most && due[n].from(how.fresh)-due[0].from(how.fresh) <= within.Milliseconds()) {
			rows += due[n].rows
			n++
		}
		batch := due[:n]
		due = due[n:]
		left -= rows
		for how.yield && s.someBehind() && ctx.Err() == nil {
			time.Sleep(50 * time.Millisecond)
		}
		select {
		case how.slots <- struct{}{}:
		case <-ctx.Done():
			continue
		}
		group.Go(func() error {
			defer func() { <-how.slots }()
			judged, err := s.judgeBatch(ctx, batch, &how, 0)
			mu.Lock()
			defer mu.Unlock()
			for i := range judged {
				if j := &judged[i]; how.done != nil && err == nil {
					how.done(j)
				}
			}
			return err
		})
	}
	return group.Wait()
}

// judgeBatch reads traces, judges them and stores the verdicts. Traces that take more memory than there is are
// judged in smaller batches; one that does by itself, on fewer spans: spansMax, if that is not 0.
func (s *shard) judgeBatch(ctx context.Context, batch []tracked, how *judging, spansMax int) ([]storage.SettledTrace, error) {
	block := s.blocks.Get().(*spans.Block)
	block.Reset()
	q := storage.TraceQuery{
		IDs: make([]spans.TraceID, len(batch)), From: time.UnixMilli(batch[0].from(how.fresh)), Keep: trace.Reads, Gentle: how.gentle,
		SpansMax: spansMax, BytesMax: s.batchBytes(how.alone),
	}
	to := int64(0)
	for i := range batch {
		q.IDs[i] = batch[i].id
		to = max(to, batch[i].lastMs)
		if spansMax == 0 && batch[i].rows > int64(s.cfg.SpansMax) {
			q.SpansMax = s.cfg.SpansMax
		}
	}
	if !how.fresh {
		q.To = time.UnixMilli(to + 1)
	}
	began := time.Now()
	err := s.store.ReadTraces(ctx, q, block)
	s.metrics.took("read", began)
	switch {
	case errors.Is(err, storage.ErrTooLarge) && len(batch) > 1:
		s.blocks.Put(block)
		half := len(batch) / 2
		first, err := s.judgeBatch(ctx, batch[:half], how, spansMax)
		if err != nil {
			return nil, err
		}
		second, err := s.judgeBatch(ctx, batch[half:], how, spansMax)
		return append(first, second...), err
	case errors.Is(err, storage.ErrTooLarge) && spansMax != 1:
		s.blocks.Put(block)
		fewer := cmp.Or(q.SpansMax, int(min(batch[0].rows, int64(s.cfg.SpansMax)))) / 2
		return s.judgeBatch(ctx, batch, how, max(1, fewer))
	case err != nil:
		return nil, err
	}
	defer s.blocks.Put(block)
	s.metrics.spans.Add(float64(block.Len()))
	s.learnSize(block)
	var judged []storage.SettledTrace
	var blamed []blamed
	began, engine := time.Now(), time.Duration(0)
	err = s.store.WriteJudged(ctx, func(yield func(*storage.JudgedTrace) bool) {
		at := time.Now()
		s.judgeBlock(block, batch, cmp.Or(q.SpansMax, s.cfg.SpansMax), func(j *storage.JudgedTrace) bool {
			judged = append(judged, j.SettledTrace)
			if j.Version == 1 && time.Since(j.FirstIngest) < countedWithin {
				for i := range j.Verdicts {
					blamed = s.blamed.of(&j.Verdicts[i], blamed)
				}
			}
			engine += time.Since(at)
			more := yield(j)
			at = time.Now()
			return more
		})
		engine += time.Since(at)
	})
	s.metrics.spent("engine", engine)
	s.metrics.spent("write", time.Since(began)-engine)
	s.metrics.traces.Add(float64(len(judged)))
	if err == nil {
		s.blamed.add(blamed)
	}
	return judged, err
}

// judgeBlock judges what has been read of a batch, no more than spansMax spans of each trace, and gives each to
// yield.
func (s *shard) judgeBlock(block *spans.Block, batch []tracked, spansMax int, yield func(*storage.JudgedTrace) bool) {
	of := make(map[spans.TraceID]int, len(batch))
	for i := range batch {
		of[batch[i].id] = i
	}
	builder := trace.NewBuilder(block)
	groups := trace.Group(block)
	s.known.witness(s.index, arrivals(groups, batch, of), func(rows []uint32) *trace.Forest { return builder.Build(rows, learnSpans) })
	judger := blame.NewJudger(blame.Config{Owners: s.owners, Normal: s.known.now(), SLO: s.cfg.SLO, OnlyTrouble: true})
	// Traces whose spans lie beside each other, one after the other: what is near is in the processor's cache.
	slices.SortFunc(groups, func(x, y trace.Rows) int { return cmp.Compare(x.Rows[0], y.Rows[0]) })
	for _, g := range groups {
		i, ok := of[g.ID]
		if !ok {
			continue
		}
		j := storage.JudgedTrace{SettledTrace: settled(block, g.Rows, &batch[i], spansMax)}
		forest := builder.Build(g.Rows, spansMax)
		forest.LeftOut += int(j.Rows) - len(g.Rows) // stored, and not read
		j.Verdicts = judger.Judge(forest)
		for k := range j.Verdicts {
			j.Verdicts[k].Version = j.Version
			s.metrics.verdicts.WithLabelValues(string(j.Verdicts[k].Symptom)).Inc()
		}
		if !yield(&j) {
			return
		}
	}
}

// settled is what a trace is judged on.
func settled(b *spans.Block, rows []uint32, k *tracked, spansMax int) storage.SettledTrace {
	first, last, stored := b.IngestMs[rows[0]], b.IngestMs[rows[0]], int64(len(rows))
	for _, r := range rows {
		first, last = min(first, b.IngestMs[r]), max(last, b.IngestMs[r])
	}
	if len(rows) >= spansMax { // more may be stored than was read
		last, stored = max(last, k.lastMs), max(stored, k.rows)
	}
	if k.judgedFirstMs > 0 {
		first = k.judgedFirstMs // all versions lie in one partition
	}
	return storage.SettledTrace{
		TraceID: k.id, Version: uint32(k.version) + 1, Rows: uint64(stored),
		FirstIngest: time.UnixMilli(first).UTC(), LastIngest: time.UnixMilli(last).UTC(),
	}
}

// arrivals are the traces of a batch that were not judged before.
func arrivals(groups []trace.Rows, batch []tracked, of map[spans.TraceID]int) []arrival {
	list := make([]arrival, 0, len(groups))
	for _, g := range groups {
		if i, ok := of[g.ID]; ok && batch[i].version == 0 {
			list = append(list, arrival{id: g.ID, at: time.UnixMilli(batch[i].firstMs), rows: g.Rows})
		}
	}
	return list
}
