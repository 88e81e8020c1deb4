package server

import (
	"fmt"
	"os"
	"syscall"
	"unsafe"
)

// terminal is a pseudo terminal that the embedded engine reads its commands from, for two reasons.
// Without one it ends the whole process whenever a connection fails in an unexpected way: a wrong
// password, garbage, a client that was killed (ClickHouse issue 115666). And it lets the engine wait
// for its end without a query that is always running.
type terminal struct{ ours, theirs *os.File }

func openTerminal() (*terminal, error) {
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	var unlocked, number int32
	err = control(ours, syscall.TIOCSPTLCK, &unlocked)
	if err == nil {
		err = control(ours, syscall.TIOCGPTN, &number)
	}
	var theirs *os.File
	if err == nil {
		theirs, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	}
	if err != nil {
		_ = ours.Close()
		return nil, err
	}
	return &terminal{ours, theirs}, nil
}

func control(f *os.File, request uintptr, value *int32) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var errno syscall.Errno
	err = conn.Control(func(fd uintptr) {
		_, _, errno = syscall.Syscall(syscall.SYS_IOCTL, fd, request, uintptr(unsafe.Pointer(value)))
	})
	if err == nil && errno != 0 {
		err = os.NewSyscallError("ioctl", errno)
	}
	return err
}

// enter types a line. It does not block: a terminal that nobody reads is full some time.
func (t *terminal) enter(line string) {
	if t == nil {
		return
	}
	conn, err := t.ours.SyscallConn()
	if err != nil {
		return // closed: it has ended
	}
	_ = conn.Control(func(fd uintptr) {
		_, _ = syscall.Write(int(fd), []byte(line+"\n"))
	})
}

func (t *terminal) close() {
	if t != nil {
		_ = t.ours.Close()
		_ = t.theirs.Close()
	}
}
