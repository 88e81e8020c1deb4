package crash

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// roundMost is how many kills one ClickHouse gets: its supervisor waits longer each time.
const roundMost = 16

// rounds spreads kills over arenas.
func rounds(t *testing.T, kills int, round func(a *arena, kills int)) {
	seed := chooseSeed()
	for i := 0; kills > 0; i++ {
		n := min(kills, roundMost)
		kills -= n
		t.Run(fmt.Sprintf("seed=%d", seed+uint32(i)), func(t *testing.T) { round(newArena(t, seed+uint32(i)), n) })
	}
}

// TestKillsTogether kills `whosehop up`, which takes its ClickHouse along, or its ClickHouse alone.
func TestKillsTogether(t *testing.T) {
	rounds(t, *kills/2, func(a *arena, kills int) {
		a.together()
		a.load = startLoad(a.t, a.book, a.at, mixedSizes)
		a.progress()
		for i := range kills {
			time.Sleep(a.between(100*time.Millisecond, 2*time.Second))
			if i%3 == 0 || a.rng.IntN(3) == 0 {
				a.killClickHouse()
			} else {
				a.killWhosehop()
			}
			// At times the next kill hits what is still coming back.
			if a.rng.IntN(3) > 0 {
				a.progress()
			}
		}
		a.finish()
	})
}

// TestKillsApart kills the collector, its ClickHouse or both, while the network between them stalls,
// breaks or is away.
func TestKillsApart(t *testing.T) {
	rounds(t, *kills-*kills/2, func(a *arena, kills int) {
		a.apart(spoolFlags(a.t.TempDir(), "256MiB"))
		a.load = startLoad(a.t, a.book, a.at, mixedSizes)
		a.progress()
		for i := range kills {
			time.Sleep(a.between(100*time.Millisecond, 2*time.Second))
			heals := func() {}
			switch i {
			case 0: // the first kill of ClickHouse shall hit an insert
			case kills / 2:
				a.absence()
			default:
				heals = a.trouble()
			}
			switch p := a.rng.IntN(5); {
			case p < 2 || i == 0:
				a.killClickHouse()
			case p < 4:
				a.killWhosehop()
			default:
				a.killClickHouse()
				a.killWhosehop()
			}
			heals()
			if a.rng.IntN(3) > 0 {
				a.progress()
			}
		}
		a.finish()
	})
}

// trouble does something to the network, or nothing; the result waits until it is over.
func (a *arena) trouble() (over func()) {
	switch a.rng.IntN(8) {
	case 0:
		a.note("network stalls")
		a.network.Stall(true, true)
	case 1:
		a.note("answers stall")
		a.network.Stall(false, true)
	case 2:
		// What ClickHouse has stored by now looks failed to the collector, and is tried again.
		a.note("answers stall, connections are cut")
		a.network.Stall(false, true)
		time.Sleep(a.between(10*time.Millisecond, 300*time.Millisecond))
		a.network.Cut()
	case 3:
		a.note("connections are cut")
		a.network.Cut()
	case 4:
		a.note("network is away")
		a.network.Vanish()
	default:
		return func() {}
	}
	over = a.healAfter(a.between(0, 4*time.Second))
	time.Sleep(a.between(0, 2*time.Second))
	return over
}

// absence has ClickHouse away for so long that only a spool can answer for it.
func (a *arena) absence() {
	away := 5 * time.Second
	if *kills >= 100 {
		away = 20 * time.Second
	}
	a.progress()
	before := a.book.tally()
	a.note("network is away for " + away.String())
	a.network.Vanish()
	time.Sleep(away)
	after := a.book.tally()
	if err := a.network.Heal(); err != nil {
		a.t.Fatal(err)
	}
	a.note("network heals")
	if refusals, acks := after.refused-before.refused, after.acknowledged-before.acknowledged; refusals > 0 || acks < senders {
		a.t.Errorf("while ClickHouse was away %d requests were acknowledged and %d refused: the spool should have taken all", acks, refusals)
	}
	time.Sleep(a.between(0, 500*time.Millisecond)) // what comes next hits the draining spool
}

// TestSpoolFull: a spool without room is no reason to lose anything, nor to hang.
func TestSpoolFull(t *testing.T) {
	fill(t, t.TempDir(), "2MiB", true)
}

// TestDiskFull: the disk is full long before the spool is as large as it may be.
func TestDiskFull(t *testing.T) {
	if os.Geteuid() != 0 {
		asRoot(t)
		return
	}
	dir := filepath.Join(t.TempDir(), "small")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); err != nil {
		t.Fatalf("mount a small tmpfs for the spool; root needs the capability SYS_ADMIN for it: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	fill(t, dir, "64MiB", false)
}

// asRoot runs a test again in a namespace of users, in which we are root and may mount, and in one of mounts.
func asRoot(t *testing.T) {
	t.Helper()
	runtime.LockOSThread() // when its thread ends, so does the program
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v", fmt.Sprintf("-crash.seed=%d", *seedFlag))
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	said, err := cmd.CombinedOutput()
	t.Logf("%s", said)
	if err != nil {
		t.Fatalf("run it in a namespace of users, which the kernel must allow, or run it as root: %v", err)
	}
}

// fill lets a spool run full twice. The first time the collector has to recover by itself, the second
// time it is killed when there is no room.
func fill(t *testing.T, dir, bytesMax string, always bool) {
	t.Helper()
	a := newArena(t, chooseSeed())
	a.apart(spoolFlags(dir, bytesMax))
	a.load = startLoad(t, a.book, a.at, largeSizes)
	for i := range 2 {
		a.progress()
		a.drained()
		before := a.book.tally()
		a.note("network is away")
		a.network.Vanish()
		waitUntil(t, time.Minute, "the spool to be full", func() bool { return a.book.tally().refused >= before.refused+3*senders })
		time.Sleep(time.Second)
		after := a.book.tally()
		if took, others := after.acknowledged-before.acknowledged, (after.refused-before.refused)-(after.exhausted-before.exhausted); took == 0 || (always && others > 0) {
			t.Errorf("%d requests were acknowledged until the spool was full; %d refusals did not say that there is no room", took, others)
		}
		heals := a.healAfter(time.Second)
		if i == 1 {
			a.killWhosehop()
		}
		heals()
	}
	a.progress()
	a.finish()
}
