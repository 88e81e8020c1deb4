// Package crash kills the processes of whosehop, and cuts the network between them, in the middle of load.
// Afterwards every span that was acknowledged is in ClickHouse, once, and as it was sent.
//
//	go test ./internal/crash -count=1 -timeout 60m -crash.kills=200
package crash

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/whosehop/whosehop/storage/server"
)

var (
	kills    = flag.Int("crash.kills", 12, "how often something is killed")
	seedFlag = flag.Uint("crash.seed", 0, "chooses the same chaos as a run that printed it (its timing is the machine's); 0 draws one")
)

// program is where TestMain builds whosehop.
var program string

func TestMain(m *testing.M) {
	if server.IsChild(os.Args) {
		os.Exit(server.ChildMain(os.Args))
	}
	if len(os.Args) == 6 && os.Args[1] == killerCommand {
		if err := killerMain(os.Args[2], os.Args[3], os.Args[4], os.Args[5]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) (code int) {
	dir, err := os.MkdirTemp("", "whosehop-crash-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	program = filepath.Join(dir, "whosehop")
	build := exec.Command("go", "build", "-o", program, "../../cmd/whosehop")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build whosehop:", err)
		return 1
	}
	code = m.Run()
	if left := running(program); len(left) > 0 {
		fmt.Fprintf(os.Stderr, "the processes %v are left behind\n", left)
		return 1
	}
	return code
}

// running lists the processes of a program.
func running(path string) (pids []string) {
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline") // the pattern is good
	for _, line := range lines {
		text, err := os.ReadFile(line)
		if err == nil && bytes.HasPrefix(text, []byte(path+"\x00")) { // else it has ended
			pids = append(pids, filepath.Base(filepath.Dir(line)))
		}
	}
	return pids
}

func chooseSeed() uint32 {
	if *seedFlag != 0 {
		return uint32(*seedFlag)
	}
	return rand.Uint32()
}
