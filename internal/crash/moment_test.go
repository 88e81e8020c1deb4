package crash

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// moment is when ClickHouse is killed. The pinned version writes down the token of an insert and then puts
// the part into its place, later ones do it the other way round. A kill between the two leaves a token
// without a part, for which a second try is answered OK and stores nothing, or a part without its token,
// which a second try stores again. By chance one kill in some hundreds hits that; a kill right after the
// first step, of which the kernel tells, nearly always does.
type moment struct {
	name  string
	below string // the folder of the table that is watched
	mask  uint32
}

// moments come in turn, so that a short run has them too.
var moments = []moment{
	{"when a token is written down", "deduplication_logs", syscall.IN_MODIFY},
	{"when a part comes into its place", ".", syscall.IN_MOVED_TO},
	{name: "at any time"},
}

// killerCommand is the first argument of a process that kills another. It has nothing else to do, and so
// it is in time: a goroutine beside the senders would not be.
const killerCommand = "crash-killer"

// kill kills pid at the next such moment, or in a second if there is none, and says what that was and whether
// it left a token without a part.
func (m moment) kill(t *testing.T, data string, pid int) (what string) {
	t.Helper()
	table := filepath.Join(data, "data", "whosehop", "otel_traces")
	killer := exec.Command("/proc/self/exe", killerCommand, strconv.Itoa(pid), table, m.below, fmt.Sprint(m.mask))
	out, err := killer.CombinedOutput()
	if err != nil {
		t.Fatalf("kill ClickHouse %s: %v %s", m.name, err, out)
	}
	return m.name + string(out)
}

func killerMain(pidText, table, below, maskText string) error {
	pid, err := strconv.Atoi(pidText)
	if err != nil {
		return err
	}
	mask, err := strconv.ParseUint(maskText, 10, 32)
	if err != nil {
		return err
	}
	if mask != 0 {
		if err := awaitEvent(filepath.Join(table, below), uint32(mask)); err != nil {
			return err
		}
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	part, err := lastPartOfLog(table)
	if err != nil || part == "" {
		return err
	}
	if _, err := os.Stat(filepath.Join(table, part)); errors.Is(err, os.ErrNotExist) {
		_, _ = os.Stdout.WriteString(", which leaves a token without a part")
	}
	return nil
}

// awaitEvent returns in the thread that waited, as soon as the kernel lets it.
func awaitEvent(path string, mask uint32) error {
	runtime.LockOSThread()
	_ = syscall.Setpriority(syscall.PRIO_PROCESS, 0, -20) // if it may
	fd, err := syscall.InotifyInit1(syscall.IN_CLOEXEC)
	if err != nil {
		return err
	}
	if _, err := syscall.InotifyAddWatch(fd, path, mask); err != nil {
		return fmt.Errorf("watch %s: %w", path, err)
	}
	// It is removed, which is an event too.
	late := time.AfterFunc(time.Second, func() { _, _ = syscall.InotifyRmWatch(fd, 1) })
	defer late.Stop()
	_, err = syscall.Read(fd, make([]byte, 4096))
	return err
}

// lastPartOfLog is the part that the last line of a table's deduplication log names.
func lastPartOfLog(table string) (part string, err error) {
	logs, err := filepath.Glob(filepath.Join(table, "deduplication_logs", "*"))
	if err != nil || len(logs) != 1 { // with a second log there have been too many inserts to look through
		return "", err
	}
	text, err := os.ReadFile(logs[0])
	if err != nil {
		return "", err
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	fields := strings.Split(lines[len(lines)-1], "\t")
	if len(fields) != 3 {
		return "", nil
	}
	return fields[1], nil
}
