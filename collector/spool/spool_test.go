package spool

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/whosehop/whosehop/storage/native"
)

const (
	roomy   = 1 << 30
	ageless = time.Hour
)

func open(t *testing.T, dir string, bytesMax int64, ageMax time.Duration) *Spool {
	t.Helper()
	s, err := Open(dir, bytesMax, ageMax)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func add(t *testing.T, s *Spool, p *native.Packed, tried bool) *Entry {
	t.Helper()
	e, err := s.Add(p, tried)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// block is one whose frames are random bytes: the spool does not look into them.
func block(id uint64, size int) *native.Packed {
	p := &native.Packed{ID: id, Rows: int(id), Columns: []string{"Timestamp", "Events.Name"}, Frames: make([]byte, size), At: time.Unix(1_790_000_000, 123_456_789)}
	r := rand.New(rand.NewPCG(id, 1))
	for i := range p.Frames {
		p.Frames[i] = byte(r.Uint32())
	}
	return p
}

func names(t *testing.T, dir string) (list []string) {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		list = append(list, f.Name())
	}
	return list
}

func sameBlock(t *testing.T, s *Spool, e *Entry, want *native.Packed) {
	t.Helper()
	got := native.Packed{ID: 1, Rows: 1, Columns: []string{"of before"}, Frames: []byte("of before")}
	if err := s.Load(e, &got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want.Frames, got.Frames) { // cmp would take seconds
		t.Errorf("other frames: %d bytes were added, %d loaded", len(want.Frames), len(got.Frames))
	}
	if diff := cmp.Diff(*want, got, cmpopts.EquateEmpty(), cmpopts.IgnoreFields(got, "Frames")); diff != "" {
		t.Errorf("added (-) and loaded (+):\n%s", diff)
	}
}

func TestABlockComesBackAsItWas(t *testing.T) {
	magicInside := block(5, 100)
	copy(magicInside.Frames, magic)
	odd := block(6, 10)
	odd.Columns, odd.At = []string{"", "\"\\\n<&>\u2028ü"}, time.Time{}
	for name, want := range map[string]*native.Packed{
		"without frames":       {},
		"one byte":             block(1, 1),
		"the greatest id":      {ID: math.MaxUint64, Rows: 65_536, Frames: []byte{0}},
		"big":                  block(2, 3<<20),
		"the magic inside":     magicInside,
		"odd names, zero time": odd,
	} {
		t.Run(name, func(t *testing.T) {
			for _, tried := range []bool{false, true} {
				dir := filepath.Join(t.TempDir(), "made", "by it")
				s := open(t, dir, roomy, ageless)
				e := add(t, s, want, tried)
				sameBlock(t, s, e, want)
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = open(t, dir, roomy, ageless)
				again := s.Take(0)
				if again == nil || again.Tried != tried || again.Size != e.Size || !again.At.Equal(e.At) {
					t.Fatalf("%+v, was %+v", again, e)
				}
				sameBlock(t, s, again, want)
				if info, err := os.Stat(filepath.Join(dir, again.name)); err != nil || info.Size() != e.Size || info.Mode().Perm() != 0o600 {
					t.Errorf("%v %v", info, err)
				}
				s.Remove(again)
				if left := names(t, dir); !slices.Equal(left, []string{"LOCK"}) {
					t.Errorf("left: %q", left)
				}
			}
		})
	}
}

func TestTheOldestComesFirst(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, roomy, ageless)
	const n = 10
	for i := range uint64(n) {
		s.Release(add(t, s, block(i, 10), i%3 == 0)) // the suffix must not count
	}
	if err := s.Trying(s.waiting[0][4]); err != nil {
		t.Fatal(err)
	}
	inOrder := func() (taken []*Entry) {
		t.Helper()
		for i := range uint64(n) {
			e := s.Take(0)
			if e == nil {
				t.Fatalf("%d blocks, want %d", i, n)
			}
			sameBlock(t, s, e, block(i, 10))
			taken = append(taken, e)
		}
		if e := s.Take(0); e != nil {
			t.Errorf("%+v was taken twice", e)
		}
		return taken
	}
	taken := inOrder()
	s.Release(taken[7])
	s.Release(taken[2])
	for _, want := range []*Entry{taken[2], taken[7], nil} {
		if e := s.Take(0); e != want {
			t.Errorf("took %+v, want %+v", e, want)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, roomy, ageless)
	inOrder()
	if state := s.State(); state.Blocks != n || state.Oldest <= 0 {
		t.Errorf("%+v", state)
	}
}

// ofShard is a block for a shard of a cluster.
func ofShard(shard int, id uint64) *native.Packed {
	p := block(id, 10)
	p.Shard = shard
	return p
}

// TestShardsAreQueuesOfTheirOwn, here and after a restart.
func TestShardsAreQueuesOfTheirOwn(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, roomy, ageless)
	for i := range uint64(9) {
		e := add(t, s, ofShard(int(i)%3*5, i), i == 8)
		if i == 4 {
			if err := s.Trying(e); err != nil {
				t.Fatal(err)
			}
		}
		s.Release(e)
	}
	for range 2 {
		_ = s.Close()
		s = open(t, dir, roomy, ageless)
		shards := s.Shards()
		slices.Sort(shards)
		if !slices.Equal(shards, []int{0, 5, 10}) || s.State().Blocks != 9 {
			t.Errorf("shards %v, %+v", shards, s.State())
		}
		for i := range uint64(9) {
			shard := int(i) % 3 * 5
			e := s.Take(shard)
			if e == nil || e.Shard != shard || e.Tried != (i == 4 || i == 8) {
				t.Fatalf("of shard %d: %+v", shard, e)
			}
			sameBlock(t, s, e, ofShard(shard, i))
		}
		for _, shard := range []int{0, 1, 5, 10} {
			if e := s.Take(shard); e != nil {
				t.Errorf("took %+v of shard %d", e, shard)
			}
		}
	}
	// What is set aside and taken back by hand is of the same shard.
	e := s.waiting[10][1]
	path, err := s.SetAside(e, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path, strings.TrimSuffix(path, ".refused")+".tried"); err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	s = open(t, dir, roomy, ageless)
	if got := s.waiting[10][1]; !got.At.Equal(e.At) || !got.Tried {
		t.Errorf("%+v, was %+v", got, e)
	}
	for _, e := range slices.Clone(s.waiting[5]) {
		s.Remove(e)
	}
	if blocks, _ := s.StateOf(5); blocks != 0 || s.State().Blocks != 6 || len(s.Shards()) != 2 {
		t.Errorf("%d blocks of shard 5, %+v", blocks, s.State())
	}
}

// TestAFileUnderAnotherShardsName is not brought there.
func TestAFileUnderAnotherShardsName(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, roomy, ageless)
	e := add(t, s, ofShard(2, 1), false)
	e.Shard = 1
	if err := s.Load(e, new(native.Packed)); !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
}

// TestTheFormatBeforeThereWereShards is read as that of the first, which is the only one.
func TestTheFormatBeforeThereWereShards(t *testing.T) {
	dir := t.TempDir()
	header := `{"id":7,"rows":2,"columns":["TraceId"],"at":"2026-11-20T10:00:00Z"}`
	data := withHeader(uint32(len(header)), header+"frames")
	if err := os.WriteFile(filepath.Join(dir, "00000000000000000007.tried"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir, roomy, 1<<62)
	at := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	sameBlock(t, s, s.Take(0), &native.Packed{ID: 7, Rows: 2, Columns: []string{"TraceId"}, At: at, Frames: []byte("frames")})
	if name := add(t, s, ofShard(1, 1), false).name; !strings.HasSuffix(name, "-2.block") {
		t.Errorf("a block of the second shard is named %s", name)
	}
	// And what is of the first shard is written as it was then.
	e := add(t, s, &native.Packed{ID: 7, Rows: 2, Columns: []string{"TraceId"}, At: at, Frames: []byte("frames")}, false)
	if now, err := os.ReadFile(filepath.Join(dir, e.name)); err != nil || !bytes.Equal(now, data) || len(e.name) != len("00000000000000000007.block") {
		t.Errorf("%s is %q (%v), was %q", e.name, now, err, data)
	}
}

// TestABlockOfOneselfIsTaken: who adds a block decides first whether others may try it.
func TestABlockOfOneselfIsTaken(t *testing.T) {
	s := open(t, t.TempDir(), roomy, ageless)
	e := add(t, s, block(1, 1), true)
	if other := s.Take(0); other != nil {
		t.Errorf("took %+v", other)
	}
	s.Release(e)
	if other := s.Take(0); other != e {
		t.Errorf("took %+v", other)
	}
}

func TestTryingOutlivesTheProcess(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, roomy, ageless)
	e, untried := add(t, s, block(1, 10), false), add(t, s, block(2, 10), false)
	for range 2 {
		if err := s.Trying(e); err != nil || !e.Tried {
			t.Fatalf("%+v %v", e, err)
		}
	}
	sameBlock(t, s, e, block(1, 10))
	if list := names(t, dir); len(list) != 3 || list[0] != e.name || filepath.Ext(e.name) != ".tried" || filepath.Ext(untried.name) != ".block" {
		t.Errorf("%q", list)
	}
	_ = s.Close()
	s = open(t, dir, roomy, ageless)
	for i, tried := range []bool{true, false} {
		e := s.Take(0)
		if e == nil || e.Tried != tried {
			t.Fatalf("%+v, want tried %v", e, tried)
		}
		sameBlock(t, s, e, block(uint64(i+1), 10))
	}
}

func TestOpenLeavesWhatIsNotItsOwn(t *testing.T) {
	dir := t.TempDir()
	write := func(name string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	aside := []string{"00000000000000000007.damaged", "00000000000000000008.refused"}
	stay := append([]string{"LOCK", "README", "foreign.block", "foreign.tried", "notes.txt", ".hidden"}, aside...)
	for _, name := range append(stay, "00000000000000000009.block.part", "00000000000000000010.tried.part") {
		write(name)
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	stay = append(stay, "folder")
	slices.Sort(stay)
	s := open(t, dir, roomy, ageless)
	if left := names(t, dir); !slices.Equal(left, stay) {
		t.Errorf("left: %q, want %q", left, stay)
	}
	if e := s.Take(0); e != nil {
		t.Errorf("took %+v", e)
	}
	if state := s.State(); state != (State{Bytes: int64(len(aside[0]) + len(aside[1]))}) {
		t.Errorf("%+v", state)
	}
	if data, err := os.ReadFile(filepath.Join(dir, "foreign.block")); err != nil || string(data) != "foreign.block" {
		t.Errorf("%q %v", data, err)
	}
}

// sealed is data under a checksum that is right.
func sealed(data []byte) []byte {
	data = slices.Clone(data)
	return binary.LittleEndian.AppendUint32(data, crc32.Checksum(data, castagnoli))
}

// withHeader is a file that says of its header that it has length bytes.
func withHeader(length uint32, header string) []byte {
	return sealed(append(binary.LittleEndian.AppendUint32([]byte(magic), length), header...))
}

func TestEveryDamageIsSeen(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, roomy, ageless)
	e := add(t, s, block(3, 50), false)
	path := filepath.Join(dir, e.name)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	damaged := func(what string, at int, data []byte) {
		t.Helper()
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		p := native.Packed{ID: 77}
		if err := s.Load(e, &p); !errors.Is(err, ErrDamaged) || p.ID != 77 {
			t.Errorf("%s %d: %v, %+v", what, at, err, p)
		}
	}
	for n := range whole {
		damaged("cut to", n, whole[:n])
		for _, flip := range []byte{1, 0x80, 0xff} {
			bad := slices.Clone(whole)
			bad[n] ^= flip
			damaged("flipped at", n, bad)
		}
		damaged("without the byte", n, slices.Delete(slices.Clone(whole), n, n+1))
	}
	damaged("longer by", 1, append(slices.Clone(whole), 0))
	damaged("twice", 2, append(slices.Clone(whole), whole...))
	damaged("zeros", len(whole), make([]byte, len(whole)))
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	sameBlock(t, s, e, block(3, 50))
}

// TestDamageIsSetAside has one damage of each class, under a checksum that is right where that can be.
func TestDamageIsSetAside(t *testing.T) {
	good := `{"id":1,"rows":1,"columns":[],"at":"2026-11-20T10:00:00Z"}`
	whole := withHeader(uint32(len(good)), good)
	huge := slices.Clone(whole)
	binary.LittleEndian.PutUint32(huge[len(magic):], math.MaxUint32)
	for name, data := range map[string][]byte{
		"empty":                                  {},
		"magic alone":                            []byte(magic),
		"magic and checksum":                     sealed([]byte(magic)),
		"no header and no length":                sealed([]byte(magic + "\x00\x00\x00")),
		"cut in the frames":                      whole[:len(whole)-5],
		"length huge":                            huge,
		"length huge under its checksum":         withHeader(math.MaxUint32, good),
		"length one too much":                    withHeader(uint32(len(good))+1, good),
		"length of no header":                    withHeader(0, good),
		"header cut":                             withHeader(uint32(len(good))-1, good),
		"header of another kind":                 withHeader(2, "[]"),
		"id that is no number":                   withHeader(10, `{"id":"x"}`),
		"the format of tomorrow":                 sealed([]byte("whosehop block 2\n\x02\x00\x00\x00{}")),
		"somebody else's file under a name here": []byte(strings.Repeat("not a block\n", 100)),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "00000000000000000007.block"), data, 0o600); err != nil {
				t.Fatal(err)
			}
			s := open(t, dir, roomy, 1<<62)
			e := s.Take(0)
			var p native.Packed
			if err := s.Load(e, &p); !errors.Is(err, ErrDamaged) {
				t.Fatalf("%v, %+v", err, p)
			}
			path, err := s.SetAside(e, true)
			if want := filepath.Join(dir, "00000000000000000007.damaged"); err != nil || path != want {
				t.Fatalf("%s %v, want %s", path, err, want)
			}
			kept, err := os.ReadFile(path)
			if err != nil || !bytes.Equal(kept, data) {
				t.Errorf("%q is kept of %q (%v)", kept, data, err)
			}
			// What is set aside still takes room, now and after a restart.
			for range 2 {
				if state := s.State(); state != (State{Bytes: int64(len(data))}) || s.Take(0) != nil {
					t.Errorf("%+v", state)
				}
				_ = s.Close()
				s = open(t, dir, roomy, ageless)
			}
		})
	}
}

func TestWhatIsRefusedIsSetAside(t *testing.T) {
	for _, tried := range []bool{false, true} {
		dir := t.TempDir()
		s := open(t, dir, roomy, ageless)
		want := block(1, 100)
		e := add(t, s, want, tried)
		path, err := s.SetAside(e, false)
		if err != nil || filepath.Ext(path) != ".refused" {
			t.Fatal(path, err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var p native.Packed
		if err := decode(data, &p); err != nil || !bytes.Equal(p.Frames, want.Frames) {
			t.Error(err)
		}
		if state := s.State(); state != (State{Bytes: e.Size}) || s.Take(0) != nil {
			t.Errorf("%+v", state)
		}
	}
}

func TestFullBySize(t *testing.T) {
	dir := t.TempDir()
	size := add(t, open(t, t.TempDir(), roomy, ageless), block(1, 1000), false).Size
	s := open(t, dir, 2*size, ageless)
	first, second := add(t, s, block(1, 1000), false), add(t, s, block(1, 1000), false)
	if s.State().Full {
		t.Error("full before a block found no room")
	}
	refused := func() {
		t.Helper()
		before := names(t, dir)
		if e, err := s.Add(block(1, 1000), false); !errors.Is(err, ErrFull) || e != nil || !s.State().Full {
			t.Fatalf("%+v %v %+v", e, err, s.State())
		}
		if after := names(t, dir); !slices.Equal(before, after) {
			t.Errorf("left: %q", after)
		}
	}
	refused()
	s.Remove(first)
	if s.State().Full {
		t.Error("full after a block has left")
	}
	third := add(t, s, block(1, 1000), false)
	refused()
	if _, err := s.SetAside(third, false); err != nil {
		t.Fatal(err)
	}
	refused() // what is set aside takes room
	_ = s.Close()
	s = open(t, dir, 2*size, ageless)
	refused()
	if e := s.Take(0); e == nil || e.name != second.name {
		t.Errorf("took %+v", e)
	}
}

func TestFullByAge(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, roomy, time.Nanosecond)
	e := add(t, s, block(1, 10), false)
	for range 2 {
		if _, err := s.Add(block(2, 10), false); !errors.Is(err, ErrFull) || !s.State().Full {
			t.Errorf("%v %+v", err, s.State())
		}
		_ = s.Close()
		s = open(t, dir, roomy, time.Nanosecond) // its age outlives the process
		e = s.Take(0)
	}
	s.Remove(e)
	if s.State().Full {
		t.Errorf("%+v", s.State())
	}
	add(t, s, block(2, 10), false)
}

// TestAgeIsOfAShard: one that is away for long is no reason to take no blocks for the others.
func TestAgeIsOfAShard(t *testing.T) {
	s := open(t, t.TempDir(), roomy, ageless)
	add(t, s, ofShard(1, 1), false).At = time.Now().Add(-2 * ageless)
	if _, err := s.Add(ofShard(1, 2), false); !errors.Is(err, ErrFull) {
		t.Error(err)
	}
	add(t, s, ofShard(0, 3), false)
	for shard, want := range []bool{false, true, false} {
		if blocks, full := s.StateOf(shard); full != want || blocks != []int{1, 1, 0}[shard] {
			t.Errorf("shard %d: %d blocks, full %v", shard, blocks, full)
		}
	}
	if state := s.State(); !state.Full || state.Oldest < 2*ageless {
		t.Errorf("%+v", state)
	}
}

func TestOneCollectorADirectory(t *testing.T) {
	dir := t.TempDir()
	first := open(t, dir, roomy, ageless)
	e := add(t, first, block(1, 10), false)
	part := filepath.Join(dir, "00000000000000000001.block.part") // being written by the first
	if err := os.WriteFile(part, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(dir, roomy, ageless)
	if err == nil || !strings.Contains(err.Error(), dir+" is in use by another collector") {
		t.Fatal(err)
	}
	if _, err := os.Stat(part); err != nil {
		t.Error("the second has removed it:", err)
	}
	sameBlock(t, first, e, block(1, 10))
	_ = first.Close()
	open(t, dir, roomy, ageless)
}

func TestAFailedWriteLeavesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	s := open(t, dir, roomy, ageless)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Add(block(1, 10), false); err == nil || errors.Is(err, ErrFull) {
		t.Error(err)
	}
	if state := s.State(); state != (State{}) || s.Take(0) != nil {
		t.Errorf("%+v", state)
	}
}

func TestConcurrentUse(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, roomy, ageless)
	const adders, each = 6, 15
	var adding, taking sync.WaitGroup
	var mu sync.Mutex
	seen := make(map[uint64]int)
	done := make(chan struct{})
	for a := range uint64(adders) {
		adding.Go(func() {
			for i := range uint64(each) {
				e, err := s.Add(block(a*each+i, 200), i%2 == 0)
				if err != nil {
					t.Error(err)
					return
				}
				s.Release(e)
			}
		})
	}
	for range 4 {
		taking.Go(func() {
			var p native.Packed
			for turn := 0; ; turn++ {
				e := s.Take(0)
				if e == nil {
					select {
					case <-done:
						if s.Take(0) == nil {
							return
						}
						t.Error("a block was free and not to be had")
						return
					case <-time.After(time.Millisecond):
						continue
					}
				}
				if turn%3 == 0 {
					s.Release(e)
					continue
				}
				if err := errors.Join(s.Load(e, &p), s.Trying(e), s.Load(e, &p)); err != nil {
					t.Error(err)
				}
				if !bytes.Equal(p.Frames, block(p.ID, 200).Frames) {
					t.Errorf("block %d has other bytes", p.ID)
				}
				mu.Lock()
				seen[p.ID]++
				mu.Unlock()
				s.Remove(e)
				_ = s.State()
			}
		})
	}
	adding.Wait()
	for s.State().Blocks > 0 {
		time.Sleep(time.Millisecond)
	}
	close(done)
	taking.Wait()
	if len(seen) != adders*each {
		t.Errorf("%d blocks, want %d", len(seen), adders*each)
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("block %d was had %d times", id, n)
		}
	}
	if state := s.State(); state != (State{}) {
		t.Errorf("%+v", state)
	}
	if left := names(t, dir); !slices.Equal(left, []string{"LOCK"}) {
		t.Errorf("left: %q", left)
	}
}

// FuzzLoad decodes data as it is and under a checksum that is right, which chance would never find.
func FuzzLoad(f *testing.F) {
	good := `{"id":18446744073709551615,"rows":2,"columns":["TraceId"],"at":"2026-11-20T10:00:00.5+01:00"}`
	whole := withHeader(uint32(len(good)), good+"frames")
	for _, seed := range [][]byte{
		nil, []byte(magic), sealed([]byte(magic)), whole, withHeader(uint32(len(good)), good), withHeader(0, ""), withHeader(2, "{}"),
		withHeader(4, "null"), withHeader(math.MaxUint32, good), withHeader(math.MaxInt32+1, good), withHeader(9, `{"rows":-1}`),
	} {
		f.Add(seed)
		if len(seed) > 4 {
			f.Add(seed[:len(seed)-4])
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, data := range [][]byte{data, sealed(data)} {
			var p native.Packed
			if err := decode(data, &p); err != nil {
				if !errors.Is(err, ErrDamaged) || !cmp.Equal(p, native.Packed{}) {
					t.Errorf("%v, %+v", err, p)
				}
				continue
			}
			if !bytes.HasPrefix(data, []byte(magic)) || len(data) < len(magic)+8 || !bytes.Equal(sealed(data[:len(data)-4]), data) {
				t.Fatalf("%q is taken for a block", data)
			}
			body := data[len(magic)+4 : len(data)-4]
			if length := binary.LittleEndian.Uint32(data[len(magic):]); !bytes.Equal(body[length:], p.Frames) {
				t.Errorf("the frames of %q are %q", data, p.Frames)
			}
		}
	})
}
