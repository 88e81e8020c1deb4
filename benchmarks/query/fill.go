package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/whosehop/whosehop/benchmarks/store"
	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/storage/native"
	"github.com/whosehop/whosehop/storage/spans"
)

// filled is what a store has, as it is written down beside it.
type filled struct {
	From, To                      time.Time // whole minutes
	Judged                        time.Time // traces that began before have verdicts
	Spans, Traces                 int
	TracesPerSecond, HitPerWeight float64
	Giant                         string // the id of the trace of 10,000 spans
}

const mark = "filled.json"

// readMark is what was written down; false is nothing.
func readMark(dir string) (f filled, found bool, err error) {
	text, err := os.ReadFile(filepath.Join(dir, mark))
	if errors.Is(err, os.ErrNotExist) {
		return f, false, nil
	}
	if err != nil {
		return f, false, err
	}
	return f, true, json.Unmarshal(text, &f)
}

func (f *filled) write(dir string) error {
	text, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, mark), text, 0o600)
}

var giantID = spans.TraceID{0xb1, 0x60, 15: 1}

const (
	blockSpans = 131_072
	exported   = 5 * time.Second // SDKs send what has ended so often
)

// fill stores the minutes of [from, to), of which from is the first that is not there.
func (w *week) fill(ctx context.Context, s *store.Store, f *filled, to time.Time) error {
	door, err := s.AtItsTime(ctx, exported)
	if err != nil {
		return err
	}
	defer func() { _ = door.Close() }()
	began, before := time.Now(), f.Spans
	packed, empty := make(chan *native.Packed, 2), make(chan *native.Packed, 4)
	for range cap(empty) {
		empty <- new(native.Packed)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(packed)
		return w.pack(ctx, f, to, empty, packed)
	})
	for range 2 {
		group.Go(func() error { return insertAll(ctx, door, packed, empty) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "\n%d spans were stored in %s\n", f.Spans-before, time.Since(began).Round(time.Second))
	return nil
}

func insertAll(ctx context.Context, door *storage.DB, packed <-chan *native.Packed, empty chan<- *native.Packed) error {
	for p := range packed {
		if err := door.InsertBlock(ctx, p, false); err != nil {
			return err
		}
		empty <- p
	}
	return nil
}

// pack packs the minutes that are missing until to.
func (w *week) pack(ctx context.Context, f *filled, to time.Time, empty <-chan *native.Packed, packed chan<- *native.Packed) error {
	writer, encoder := newWriter(w.services, w.faults), new(native.Encoder)
	first := f.To
	flush := func() error {
		if writer.block.Len() == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case p := <-empty:
			p.ID, p.At = uint64(f.To.UnixNano()), time.Now()
			encoder.Encode(&writer.block, p)
			f.Spans += p.Rows
			packed <- p
		}
		writer.begin(f.To)
		return nil
	}
	writer.begin(first)
	giantAt := to.Add(-30 * time.Minute)
	for at := first; at.Before(to); at = at.Add(time.Minute) {
		if f.Giant == "" && !at.Before(giantAt) {
			f.Giant = fmt.Sprintf("%x", giantID[:])
			writer.add(w.giant, giantID, at.UnixNano(), 1024)
			f.Traces++
		}
		writer.deploy(at)
		w.minute(at, func(t *template, startNs, slower int64, id spans.TraceID) {
			writer.add(t, id, startNs, slower)
			f.Traces++
		})
		f.To = at.Add(time.Minute)
		if writer.block.Len() >= blockSpans {
			if err := flush(); err != nil {
				return err
			}
			fmt.Fprintf(os.Stderr, "\r%.1f million spans, until %s", float64(f.Spans)/1e6, f.To.Format(time.DateTime))
		}
	}
	return flush()
}
