package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"whosehop": func() {
			ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
		},
	})
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]size{"0": 0, "1048576": 1 << 20, "512MiB": 512 << 20, "4GiB": 4 << 30, "3KiB": 3 << 10} {
		var s size
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("%s: %d, %v", text, s, err)
		}
	}
	for _, text := range []string{"", "x", "-1", "1TB", "GiB"} {
		if err := new(size).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken for a size", text)
		}
	}
	for s, want := range map[size]string{4 << 30: "4GiB", 1000: "1000", 512 << 20: "512MiB"} {
		if s.String() != want {
			t.Errorf("%d is %s, want %s", s, s, want)
		}
	}
}

// TestSLOsReachTheAnalyzer: from the command line, in nanoseconds, and no more of them than it takes.
func TestSLOsReachTheAnalyzer(t *testing.T) {
	var c cli
	parser, err := kong.New(&c, kong.NamedMapper("file", fileMapper{}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse([]string{"up", "--analyzer-slo", "GET /a=b=300ms", "--analyzer-slo", "shop GET /c=2us"}); err != nil {
		t.Fatal(err)
	}
	if got, want := c.analyzerConfig().SLO, map[string]int64{"GET /a=b": 300_000_000, "shop GET /c": 2000}; !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	for i := range 500 {
		c.Settings.Analyze.SLO[fmt.Sprint("GET /", i)] = 1
	}
	if err := c.validate(roles{analyze: true}); err == nil || !strings.Contains(err.Error(), "analyzer.slo: 502 entries are more than 500") {
		t.Errorf("502 entries: %v", err)
	}
}
