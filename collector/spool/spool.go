// Package spool keeps packed blocks on disk until ClickHouse has them.
//
// Goal: a block that Add has taken outlives kill -9 and the loss of power, and comes back as it was.
//
// Outline: a block is a file of its own. It is written under another name, synced, and renamed: a file with the
// right name is whole. Its name says when it came, for which shard of a cluster if not the first, and, once an insert
// of it has been tried, that too. The blocks of each shard are a queue of their own, so that none waits for another
// shard; the room on disk is for all.
// Damage therefore takes one block, and is seen by the checksum: such a file is set aside, as is one that
// the storage refuses for good, and neither is ever deleted here.
//
// Why no library: a write-ahead log is an ordered stream that is cut at its end; what is wanted here is a
// set whose members leave in any order, each synced before it is acknowledged. The file system is that.
package spool

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/whosehop/whosehop/storage/native"
)

// ErrFull is why a block is not taken: the spool has reached its size, or the oldest block of its shard its age, or
// the disk is full.
var ErrFull = errors.New("the spool is full")

// ErrDamaged is why a block cannot be read back.
var ErrDamaged = errors.New("the file is damaged")

// Spool is the blocks in one directory. It is safe for concurrent use.
type Spool struct {
	dir      string
	bytesMax int64
	ageMax   time.Duration
	lock     *os.File

	mu      sync.Mutex
	bytes   int64            // of waiting and of set aside
	full    bool             // the last block found no room, and none has left since
	waiting map[int][]*Entry // by shard, the oldest first; none is empty
	last    int64
}

// Entry is a block in the spool.
type Entry struct {
	At   time.Time
	Size int64
	// Shard is where the block goes in a cluster.
	Shard int
	// Tried says that an insert of the block was begun, and perhaps succeeded.
	Tried bool

	name  string
	taken bool
}

const (
	suffixUntried, suffixTried = ".block", ".tried"
	suffixPart                 = ".part"
	// What is set aside is for a person to look at.
	suffixDamaged, suffixRefused = ".damaged", ".refused"
)

// Open takes the directory for itself and finds what is in it. Sizes are in bytes.
func Open(dir string, bytesMax int64, ageMax time.Duration) (*Spool, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the spool: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "LOCK"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the spool: %w", err)
	}
	s := &Spool{dir: dir, bytesMax: bytesMax, ageMax: ageMax, lock: lock, waiting: make(map[int][]*Entry)}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("lock the spool: %s is in use by another collector: %w", dir, err)
	}
	if err := s.scan(); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("read the spool: %w", err)
	}
	return s, nil
}

// Close lets another collector have the directory.
func (s *Spool) Close() error { return s.lock.Close() }

func (s *Spool) scan() error {
	files, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil {
			return err
		}
		suffix := filepath.Ext(f.Name())
		switch suffix {
		case suffixPart: // was never acknowledged
			if err := os.Remove(filepath.Join(s.dir, f.Name())); err != nil {
				return err
			}
		case suffixDamaged, suffixRefused:
			s.bytes += info.Size()
		case suffixUntried, suffixTried:
			var ns int64
			number := 1
			if n, _ := fmt.Sscanf(f.Name(), "%d-%d", &ns, &number); n == 0 {
				continue // not ours
			}
			shard := number - 1
			s.bytes += info.Size()
			e := &Entry{At: time.Unix(0, ns), Size: info.Size(), Shard: shard, Tried: suffix == suffixTried, name: f.Name()}
			s.waiting[shard] = append(s.waiting[shard], e)
		}
	}
	for _, queue := range s.waiting {
		slices.SortFunc(queue, func(x, y *Entry) int { return strings.Compare(x.name, y.name) })
	}
	return nil
}

// header stands before the frames of a block, as JSON.
type header struct {
	ID      uint64    `json:"id"`
	Rows    int       `json:"rows"`
	Columns []string  `json:"columns"`
	Shard   int       `json:"shard,omitempty"`
	At      time.Time `json:"at"`
}

// magic begins each file; then come the length of the header, the header, the frames, and the CRC-32C of
// all that.
const magic = "whosehop block 1\n"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Add stores a block; when it returns, that is on disk. The block counts as taken until it is released.
func (s *Spool) Add(p *native.Packed, tried bool) (*Entry, error) {
	head, err := json.Marshal(header{ID: p.ID, Rows: p.Rows, Columns: p.Columns, Shard: p.Shard, At: p.At})
	if err != nil {
		return nil, fmt.Errorf("spool a block: %w", err)
	}
	begin := binary.LittleEndian.AppendUint32([]byte(magic), uint32(len(head)))
	begin = append(begin, head...)
	sum := crc32.Update(crc32.Checksum(begin, castagnoli), castagnoli, p.Frames)
	e, err := s.reserve(p.Shard, int64(len(begin)+len(p.Frames)+4), tried)
	if err != nil {
		return nil, err
	}
	if err := s.write(e.name, begin, p.Frames, binary.LittleEndian.AppendUint32(nil, sum)); err != nil {
		s.Remove(e)
		if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
			err = fmt.Errorf("%w: %w", ErrFull, err)
		}
		return nil, fmt.Errorf("spool a block: %w", err)
	}
	return e, nil
}

// reserve makes room for a block, under a name of its own.
func (s *Spool) reserve(shard int, size int64, tried bool) (*Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if s.full = s.bytes+size > s.bytesMax; s.full || s.tooOld(shard, now) {
		return nil, ErrFull
	}
	s.last = max(now.UnixNano(), s.last+1)
	suffix := suffixUntried
	if tried {
		suffix = suffixTried
	}
	name := fmt.Sprintf("%020d", s.last)
	if shard > 0 {
		name += fmt.Sprintf("-%d", shard+1) // as ClickHouse counts
	}
	e := &Entry{At: time.Unix(0, s.last), Size: size, Shard: shard, Tried: tried, name: name + suffix, taken: true}
	s.bytes += size
	s.waiting[shard] = append(s.waiting[shard], e)
	return e, nil
}

// tooOld says whether the oldest block of a shard is.
func (s *Spool) tooOld(shard int, now time.Time) bool {
	queue := s.waiting[shard]
	return len(queue) > 0 && now.Sub(queue[0].At) > s.ageMax
}

func (s *Spool) write(name string, parts ...[]byte) error {
	path := filepath.Join(s.dir, name)
	f, err := os.OpenFile(path+suffixPart, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	for _, part := range parts {
		if err == nil {
			_, err = f.Write(part)
		}
	}
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(path+suffixPart, path)
	}
	if err != nil {
		_ = os.Remove(path + suffixPart)
		return err
	}
	return s.syncDir()
}

func (s *Spool) syncDir() error {
	d, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	return d.Sync()
}

// Shards are those that blocks wait for.
func (s *Spool) Shards() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.waiting))
}

// Take gives the oldest block of a shard that nobody has taken, nil for none.
func (s *Spool) Take(shard int) *Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.waiting[shard] {
		if !e.taken {
			e.taken = true
			return e
		}
	}
	return nil
}

// Release gives back a block that was taken: others may try it.
func (s *Spool) Release(e *Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.taken = false
}

// Trying writes down that an insert of the block begins.
func (s *Spool) Trying(e *Entry) error {
	if e.Tried {
		return nil
	}
	if err := s.rename(e, suffixTried); err != nil {
		return err
	}
	if err := s.syncDir(); err != nil {
		return fmt.Errorf("mark a block of the spool: %w", err)
	}
	e.Tried = true
	return nil
}

func (s *Spool) rename(e *Entry, suffix string) error {
	name := strings.TrimSuffix(e.name, filepath.Ext(e.name)) + suffix
	if err := os.Rename(filepath.Join(s.dir, e.name), filepath.Join(s.dir, name)); err != nil {
		return fmt.Errorf("rename a block of the spool: %w", err)
	}
	e.name = name
	return nil
}

// Load reads a block back into p. The error is ErrDamaged, or the file system's.
func (s *Spool) Load(e *Entry, p *native.Packed) error {
	data, err := os.ReadFile(filepath.Join(s.dir, e.name))
	if err != nil {
		return fmt.Errorf("read a block of the spool: %w", err)
	}
	var read native.Packed
	if err := decode(data, &read); err != nil {
		return err
	}
	if read.Shard != e.Shard {
		return fmt.Errorf("%w: its name says shard %d and its header %d", ErrDamaged, e.Shard+1, read.Shard+1)
	}
	*p = read
	return nil
}

func decode(data []byte, p *native.Packed) error {
	body, ok := bytes.CutPrefix(data, []byte(magic))
	if !ok || len(body) < 8 {
		return fmt.Errorf("%w: it does not begin as a block", ErrDamaged)
	}
	end := len(data) - 4
	if sum := crc32.Checksum(data[:end], castagnoli); sum != binary.LittleEndian.Uint32(data[end:]) {
		return fmt.Errorf("%w: its checksum is another", ErrDamaged)
	}
	body = body[:len(body)-4]
	length := int64(binary.LittleEndian.Uint32(body))
	if body = body[4:]; length > int64(len(body)) {
		return fmt.Errorf("%w: its header is cut", ErrDamaged)
	}
	var h header
	if err := json.Unmarshal(body[:length], &h); err != nil {
		return fmt.Errorf("%w: its header is no JSON: %w", ErrDamaged, err)
	}
	*p = native.Packed{ID: h.ID, Shard: h.Shard, Rows: h.Rows, Columns: h.Columns, At: h.At, Frames: body[length:]}
	return nil
}

// Remove deletes a block that is stored, or was never whole.
func (s *Spool) Remove(e *Entry) {
	err := os.Remove(filepath.Join(s.dir, e.name))
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	// A file that stays will be tried again after a restart, and then found to be stored.
	s.forget(e, err == nil)
}

func (s *Spool) forget(e *Entry, gone bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	queue := s.waiting[e.Shard]
	i := slices.Index(queue, e)
	if i < 0 {
		return
	}
	if s.waiting[e.Shard] = slices.Delete(queue, i, i+1); len(queue) == 1 {
		delete(s.waiting, e.Shard)
	}
	if gone {
		s.bytes -= e.Size
		s.full = false
	}
}

// SetAside keeps a block out of the way: damaged, or refused by the storage. It says where that is now.
func (s *Spool) SetAside(e *Entry, damaged bool) (path string, err error) {
	suffix := suffixRefused
	if damaged {
		suffix = suffixDamaged
	}
	err = s.rename(e, suffix)
	s.forget(e, false)
	return filepath.Join(s.dir, e.name), err
}

// State is how full a spool is.
type State struct {
	Bytes  int64
	Blocks int
	// Oldest is how long the oldest block has waited.
	Oldest time.Duration
	Full   bool
}

// State looks at it; it is full if it is for one of the shards.
func (s *Spool) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	state := State{Bytes: s.bytes, Full: s.full}
	for shard, queue := range s.waiting {
		state.Blocks += len(queue)
		state.Oldest = max(state.Oldest, now.Sub(queue[0].At))
		state.Full = state.Full || s.tooOld(shard, now)
	}
	return state
}

// StateOf is how many blocks of a shard wait, and whether there is no room for more of them.
func (s *Spool) StateOf(shard int) (blocks int, full bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.waiting[shard]), s.full || s.tooOld(shard, time.Now())
}
