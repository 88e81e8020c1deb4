package server

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"github.com/ebitengine/purego"
)

// childCommand is the first argument of a process that is to become the embedded ClickHouse.
const childCommand = "clickhouse-child"

// IsChild says whether the process was started to become the embedded ClickHouse; main then hands
// over to ChildMain before it does anything else.
func IsChild(args []string) bool { return len(args) > 2 && args[1] == childCommand }

// ChildMain turns the process into a ClickHouse server: args are the program, the command, the
// library and then what `clickhouse local` takes. It returns the exit code when the server ends.
func ChildMain(args []string) int {
	// The library keeps to the thread that it is called on.
	runtime.LockOSThread()
	lib, err := purego.Dlopen(args[2], purego.RTLD_NOW|purego.RTLD_GLOBAL)
	if err != nil {
		fmt.Fprintf(os.Stderr, "open the ClickHouse engine: %v\n", err)
		return 1
	}
	var run func(argc int32, argv unsafe.Pointer) uintptr
	var resultError func(result uintptr) string
	purego.RegisterLibFunc(&run, lib, "chdb_query_cmdline")
	purego.RegisterLibFunc(&resultError, lib, "chdb_result_error")

	argv := make([]*byte, 0, len(args)-1)
	for _, a := range append([]string{"clickhouse"}, args[3:]...) {
		p, err := syscall.BytePtrFromString(a)
		if err != nil {
			fmt.Fprintf(os.Stderr, "argument for the ClickHouse engine: %v\n", err)
			return 1
		}
		argv = append(argv, p)
	}
	argc := int32(len(argv))
	argv = append(argv, nil)
	result := run(argc, unsafe.Pointer(&argv[0]))
	runtime.KeepAlive(argv)
	if result == 0 {
		return 1
	}
	if message := resultError(result); message != "" {
		fmt.Fprintln(os.Stderr, message)
		return 1
	}
	return 0
}

// childAttributes lets the child die with us, and keeps the terminal's Ctrl-C from it: we flush
// first and then end it. (A parent that dies between fork and prctl is seen to by package syscall.)
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
