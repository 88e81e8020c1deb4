package main

import (
	"compress/gzip"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestExactly runs the scripts that hold the program to its exit codes and to one sentence on stderr.
func TestExactly(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"pack": pack, "oneline": oneline, "status": exitsWith,
		},
	})
}

// pack writes a file gzipped: pack FILE TO.
func pack(ts *testscript.TestScript, _ bool, args []string) {
	f, err := os.Create(ts.MkAbs(args[1]))
	ts.Check(err)
	w := gzip.NewWriter(f)
	_, err = w.Write([]byte(ts.ReadFile(args[0])))
	ts.Check(err)
	ts.Check(w.Close())
	ts.Check(f.Close())
}

// oneline fails unless the last command said one line on stderr.
func oneline(ts *testscript.TestScript, _ bool, _ []string) {
	said := ts.ReadFile("stderr")
	if strings.Count(said, "\n") != 1 || !strings.HasSuffix(said, "\n") {
		ts.Fatalf("stderr is not one line: %q", said)
	}
}

// exitsWith fails unless a command ends with an exit code: status CODE COMMAND ARGS...
func exitsWith(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	var exit *exec.ExitError
	switch err := ts.Exec(args[1], args[2:]...); {
	case err == nil && want != 0:
		ts.Fatalf("exit code 0, want %d", want)
	case errors.As(err, &exit) && exit.ExitCode() != want:
		ts.Fatalf("exit code %d, want %d", exit.ExitCode(), want)
	case err != nil && exit == nil:
		ts.Fatalf("%v", err)
	}
}

func TestWithoutSecrets(t *testing.T) {
	for dsn, want := range map[string]string{
		"":                                    "",
		"clickhouse://ch:9000/db":             "clickhouse://ch:9000/db",
		"tcp://me:hush@ch:9000/db":            "tcp://me:xxxxx@ch:9000/db",
		"clickhouse://me:hu@sh@ch:9000/db":    "clickhouse://me:xxxxx@ch:9000/db",
		"clickhouse://ch/db?secure=true":      "clickhouse://ch/db?secure=true",
		"clickhouse://me:hu?sh@ch:9000/db":    "clickhouse://(not shown)",
		"clickhouse://ch/db?password=hu@sh":   "clickhouse://(not shown)",
		"clickhouse://me:x@ch?password=hu@sh": "clickhouse://me:xxxxx@ch?password=xxxxx",
		"me:hush":                             "(not shown)",
	} {
		got := withoutSecrets(dsn)
		if got != want {
			t.Errorf("%q: %q, want %q", dsn, got, want)
		}
		if again := withoutSecrets(got); again != got {
			t.Errorf("%q is not left alone: %q", got, again)
		}
	}
}
