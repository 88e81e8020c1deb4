// Package stored keeps the registry of owners in ClickHouse: files are applied to it, and every role follows what is there.
package stored

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/whosehop/whosehop/ownership"
	"github.com/whosehop/whosehop/ownership/catalog"
	"github.com/whosehop/whosehop/storage"
)

// DefaultSet is the set of whoever has only one.
const DefaultSet = "default"

// Store is what is needed of the storage.
type Store interface {
	OwnerSets(ctx context.Context) (storage.OwnerSets, error)
	ReadOwners(ctx context.Context, set string, version uint64) (records []string, err error)
	WriteOwners(ctx context.Context, set string, version uint64, records []storage.OwnerRecord) error
}

// The errors that a caller tells apart.
var (
	// ErrInvalid wraps what is wrong with records: nothing of them is applied.
	ErrInvalid = errors.New("nothing is applied")
	// ErrAway is of a storage of which a part does not answer.
	ErrAway = errors.New("a part of the storage does not answer: apply again when all of it does")
	// ErrRaced is of an apply that met with another.
	ErrRaced = errors.New("the set was changed by somebody else at the same moment: apply again")
)

// Registry is the registry as it is stored, and puts what is stored into force. It is safe for concurrent use.
type Registry struct {
	store   Store
	cfg     ownership.Config
	current *ownership.Current
	log     *slog.Logger
	metrics metrics

	// work is held while something is read or applied, and guards what follows.
	work     sync.Mutex
	sets     map[string]set
	file     *ownership.Wanted // what ownership.file says, while it is not applied
	enforced bool

	// shown guards what people are shown of it.
	shown  sync.Mutex
	inWord string    // what is in force
	lookAt time.Time // when it was last known that nothing newer is stored
	failed error     // why that is not known now
}

// set is what is known of one set.
type set struct {
	version uint64
	records []catalog.Record
}

type metrics struct {
	records, conflicts, applied prometheus.Gauge
	failures                    prometheus.Counter
}

// New makes a registry that is not read yet.
func New(store Store, cfg ownership.Config, current *ownership.Current, log *slog.Logger, reg prometheus.Registerer) *Registry {
	r := &Registry{store: store, cfg: cfg, current: current, log: log, sets: make(map[string]set)}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	r.metrics = metrics{
		records:   gauge("whosehop_owners_records", "Records of the registry of owners that is in force."),
		conflicts: gauge("whosehop_owners_conflicts", "Records of it that others contradict."),
		applied:   gauge("whosehop_owners_applied_seconds", "When the newest of what is in force was applied, in Unix seconds."),
		failures:  prometheus.NewCounter(prometheus.CounterOpts{Name: "whosehop_owners_errors_total", Help: "Looks for a newer registry of owners that failed."}),
	}
	age := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "whosehop_owners_age_seconds", Help: "How long ago it was last known that the registry in force is the newest.",
	}, func() float64 {
		r.shown.Lock()
		defer r.shown.Unlock()
		return time.Since(r.lookAt).Seconds()
	})
	reg.MustRegister(r.metrics.records, r.metrics.conflicts, r.metrics.applied, r.metrics.failures, age)
	return r
}

// Start applies what ownership.file says, unless that is nil, and puts into force what is stored. While a part of the storage
// is away, the file counts here and is not stored.
func (r *Registry) Start(ctx context.Context, file *ownership.Wanted) error {
	if file == nil {
		return r.Look(ctx)
	}
	wanted := *file
	wanted.Set, wanted.Config = DefaultSet, r.cfg
	_, err := r.Apply(ctx, wanted, false)
	switch {
	case errors.Is(err, ErrAway), errors.Is(err, ErrRaced):
		r.log.Warn("ownership.file counts here, and is stored when all of the storage answers", "error", err)
		r.work.Lock()
		r.file, r.enforced = &wanted, false
		r.work.Unlock()
	case err != nil:
		return fmt.Errorf("apply ownership.file: %w", err)
	}
	return r.Look(ctx)
}

// every is how often a newer registry is looked for, and lookTimeout how long that may take.
const (
	every       = 5 * time.Second
	lookTimeout = time.Minute
)

// Run follows what is stored until ctx ends.
func (r *Registry) Run(ctx context.Context) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			r.applyFile(ctx)
			_ = r.Look(ctx) // it has said what is wrong, and what is in force stays
		}
	}
}

// copied is a copy of what a file says: the records are written to when they are merged.
func copied(w *ownership.Wanted) *ownership.Wanted {
	if w == nil {
		return nil
	}
	again := *w
	again.Records = slices.Clone(w.Records)
	return &again
}

// applyFile tries again to apply ownership.file.
func (r *Registry) applyFile(ctx context.Context) {
	r.work.Lock()
	file := copied(r.file)
	r.work.Unlock()
	if file == nil {
		return
	}
	if _, err := r.Apply(ctx, *file, false); err != nil {
		return
	}
	r.log.Info("ownership.file is stored")
	r.work.Lock()
	r.file = nil
	r.work.Unlock()
}

// Look puts into force what is stored, if that is newer. After an error what is in force stays.
func (r *Registry) Look(ctx context.Context) error {
	r.work.Lock()
	defer r.work.Unlock()
	began := time.Now()
	_, changed, err := r.read(ctx)
	r.note(ctx, began, err)
	if err != nil {
		return err
	}
	if changed || !r.enforced {
		r.enforce()
	}
	return nil
}

// note keeps when and how a look ended, and says in the log when that is not as it was.
func (r *Registry) note(ctx context.Context, began time.Time, err error) {
	if errors.Is(ctx.Err(), context.Canceled) {
		return
	}
	r.shown.Lock()
	defer r.shown.Unlock()
	switch {
	case err != nil && r.failed == nil:
		r.log.Warn("the registry of owners cannot be read: the one in force stays", "error", err)
	case err == nil && r.failed != nil:
		r.log.Info("the registry of owners can be read again")
	}
	if r.failed = err; err != nil {
		r.metrics.failures.Inc()
		return
	}
	r.lookAt = began
}

// read reads the sets of which there is a newer version. None ever goes back to an earlier one: such is what a shard has that
// was away, while another is.
func (r *Registry) read(ctx context.Context) (stored storage.OwnerSets, changed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	if stored, err = r.store.OwnerSets(ctx); err != nil {
		return stored, false, err
	}
	sets := maps.Clone(r.sets)
	for name, version := range stored.Newest {
		if version <= sets[name].version {
			continue
		}
		texts, err := r.store.ReadOwners(ctx, name, version)
		if err != nil {
			return stored, false, err
		}
		records := make([]catalog.Record, len(texts))
		for i, text := range texts {
			if err := json.Unmarshal([]byte(text), &records[i]); err != nil {
				return stored, false, fmt.Errorf("read a stored owner of set %s: %w", name, err)
			}
			records[i].Set = name
		}
		sets[name] = set{version, records}
		changed = true
	}
	r.sets = sets
	return stored, changed, nil
}

// all are the records of all sets, in an order that does not change.
func (r *Registry) all() (all []catalog.Record) {
	for _, name := range slices.Sorted(maps.Keys(r.sets)) {
		if all == nil {
			all = slices.Clip(r.sets[name].records) // most often there is only one
		} else {
			all = append(all, r.sets[name].records...)
		}
	}
	return all
}

// enforce puts into force what is known.
func (r *Registry) enforce() {
	all := r.all()
	if r.file != nil {
		applied := ownership.Merge(all, *copied(r.file), time.Now())
		all = slices.DeleteFunc(slices.Clone(all), func(c catalog.Record) bool { return c.Set == DefaultSet })
		all = append(all, applied.Records...)
	}
	registry := ownership.Compile(all, r.cfg)
	r.current.Set(registry)
	r.enforced = true
	var newest uint64
	for _, s := range r.sets {
		newest = max(newest, s.version)
	}
	conflicts := len(registry.Conflicts())
	r.metrics.records.Set(float64(len(all)))
	r.metrics.conflicts.Set(float64(conflicts))
	inWord := fmt.Sprintf("owners: %d records in %d sets, %d conflicts", len(all), len(r.sets), conflicts)
	if newest > 0 {
		r.metrics.applied.Set(float64(appliedAt(newest).UnixMilli()) / 1e3)
		inWord += ", applied " + appliedAt(newest).Format(time.RFC3339)
	}
	r.shown.Lock()
	r.inWord = inWord
	r.shown.Unlock()
	r.log.Info("owners in force", "records", len(all), "sets", len(r.sets), "conflicts", conflicts, "version", newest)
}

// State says in a line what is in force.
func (r *Registry) State() string {
	r.shown.Lock()
	defer r.shown.Unlock()
	if r.failed != nil {
		return fmt.Sprintf("%s; whether that is the newest is not known since %s: %v", r.inWord, r.lookAt.UTC().Format(time.RFC3339), r.failed)
	}
	return r.inWord
}

// A version is the time in milliseconds at which it was applied, or that of the version before if that is later, and random
// bits: two that are applied at once are never the same version, of which each would be a part.
const randomBits = 22

func nextVersion(before uint64) uint64 {
	ms := max(uint64(time.Now().UnixMilli()), before>>randomBits+1)
	return ms<<randomBits | rand.Uint64N(1<<randomBits) //nolint:gosec // nobody gains by guessing it
}

func appliedAt(version uint64) time.Time {
	return time.UnixMilli(int64(version >> randomBits)).UTC() //nolint:gosec // it has 42 bits
}

// Apply makes a set what files say, with all shards having it, and puts that into force. A dry run only says what would
// become of it. Two that are applied at once are stored one after the other: the later one counts, whole.
func (r *Registry) Apply(ctx context.Context, w ownership.Wanted, dryRun bool) (*ownership.Applied, error) {
	if wrong := w.Check(); len(wrong) > 0 {
		return nil, fmt.Errorf("%w: %s", ErrInvalid, strings.Join(wrong, "; "))
	}
	w.Config = r.cfg
	r.work.Lock()
	defer r.work.Unlock()
	const attempts = 3
	for range attempts {
		stored, changed, err := r.read(ctx)
		if err != nil {
			return nil, err
		}
		if changed {
			r.enforce()
		}
		if _, known := r.sets[w.Set]; !known && len(r.sets) >= ownership.SetsMost {
			return nil, fmt.Errorf("%w: there are %d sets already, which is the most", ErrInvalid, ownership.SetsMost)
		}
		applied := ownership.Merge(r.all(), w, time.Now())
		if dryRun {
			return applied, nil
		}
		if len(stored.Missing) > 0 {
			return nil, fmt.Errorf("%w; nothing is applied; missing: %s", ErrAway, strings.Join(stored.Missing, ", "))
		}
		newest := stored.Newest[w.Set]
		// What is stored may be older than what is known here: a backup was restored, or a replica was lost.
		if !applied.Differs && !stored.Behind[w.Set] && newest == r.sets[w.Set].version {
			return applied, nil
		}
		done, err := r.write(ctx, w.Set, newest, applied.Records)
		if done || err != nil {
			return applied, err
		}
	}
	return nil, ErrRaced
}

// write stores a set, unless another has done so since the newest version was this one.
func (r *Registry) write(ctx context.Context, name string, before uint64, records []catalog.Record) (done bool, err error) {
	rows := make([]storage.OwnerRecord, len(records))
	for i := range records {
		c := &records[i]
		c.Set = "" // which is a column
		text, err := json.Marshal(c)
		c.Set = name
		if err != nil {
			return false, fmt.Errorf("%w: %s: %w", ErrInvalid, c.Source, err)
		}
		rows[i] = storage.OwnerRecord{Kind: string(c.Kind), Name: c.Name, Owner: c.Owner, From: c.From, Until: c.Until, Record: string(text)}
	}
	now, err := r.store.OwnerSets(ctx)
	if err != nil {
		return false, err
	}
	if now.Newest[name] != before {
		return false, nil
	}
	version := nextVersion(max(before, r.sets[name].version))
	if err := r.store.WriteOwners(ctx, name, version, rows); err != nil {
		var failed *storage.Error
		if errors.As(err, &failed) && failed.Retryable() {
			err = fmt.Errorf("%w; it is not known whether it is stored everywhere: %w", ErrAway, err)
		}
		return false, err
	}
	if now, err = r.store.OwnerSets(ctx); err != nil {
		return false, err
	}
	if now.Newest[name] != version {
		return false, ErrRaced
	}
	sets := maps.Clone(r.sets)
	sets[name] = set{version, records}
	r.sets = sets
	if name == DefaultSet {
		r.file = nil // whoever applies it knows better
	}
	r.enforce()
	return true, nil
}
