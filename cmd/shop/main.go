// Command shop is a small shop of ten processes that speak HTTP and gRPC, with a database, a third
// party and a queue, instrumented as services usually are. It is under steady load, and one fault
// can be switched on: it is what whosehop is tried on, by people and by its tests.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
)

type cli struct {
	Run     runCmd     `cmd:"" help:"Run the shop under load until Ctrl-C."`
	Faults  faultsCmd  `cmd:"" help:"List the faults, and the hop that each should be blamed on."`
	Owners  ownersCmd  `cmd:"" help:"Print who owns which service, as whosehop reads it."`
	Service serviceCmd `cmd:"" hidden:"" help:"Run one service; the shop itself does so."`
}

// streams are where a command writes to.
type streams struct{ out, err io.Writer }

// usageError is the user's: exit code 2.
type usageError struct{ error }

type runCmd struct {
	Fault     []string      `help:"The fault to switch on; see shop faults. May be given again." placeholder:"NAME"`
	Rate      float64       `help:"Requests a second, at most 1000." default:"10"`
	OTLP      string        `name:"otlp" help:"Where the spans go." default:"http://127.0.0.1:4317" env:"OTEL_EXPORTER_OTLP_ENDPOINT" placeholder:"URL"`
	Protocol  string        `help:"How: grpc or http/protobuf." enum:"grpc,http/protobuf" default:"grpc" env:"OTEL_EXPORTER_OTLP_PROTOCOL"`
	For       time.Duration `help:"End after so long a load, e.g. 30s; 0 ends at Ctrl-C." default:"0s"`
	EntryAddr string        `help:"Where the storefront listens; port 0 picks a free one." default:"127.0.0.1:0" placeholder:"ADDR"`
	Seed      uint64        `help:"Which of the requests the fault hits." default:"1"`
}

func (runCmd) Help() string {
	return "Example:\n  shop run --fault leaf-error --otlp http://127.0.0.1:4317"
}

func (c *runCmd) Run(ctx context.Context, to streams) error {
	for _, name := range c.Fault {
		if _, ok := findFault(name); !ok {
			return usageError{fmt.Errorf("--fault: there is no fault %q; shop faults lists them", name)}
		}
	}
	if !(c.Rate > 0 && c.Rate <= 1000) {
		return usageError{fmt.Errorf("--rate: %g is not above 0 and at most 1000", c.Rate)}
	}
	if c.For < 0 {
		return usageError{fmt.Errorf("--for: %s is negative", c.For)}
	}
	return runShop(ctx, c, to)
}

type faultsCmd struct {
	Output string `short:"o" enum:"text,json" default:"text" help:"text or json."`
}

func (c *faultsCmd) Run(to streams) error {
	if c.Output == "json" {
		enc := json.NewEncoder(to.out)
		enc.SetIndent("", "  ")
		return enc.Encode(allFaults())
	}
	for _, f := range allFaults() {
		if _, err := fmt.Fprintf(to.out, "%-18s %s\n%-18s to blame: %s, owner: %s\n", f.Name, f.Story, "", f.Expect.Sites[0], f.Expect.Owner); err != nil {
			return fmt.Errorf("print: %w", err)
		}
	}
	return nil
}

type ownersCmd struct{}

func (ownersCmd) Run(to streams) error {
	_, err := io.WriteString(to.out, ownersFile())
	return err
}

type serviceCmd struct {
	Name string `arg:"" help:"Which."`
}

func (c *serviceCmd) Run(ctx context.Context, to streams) error { return runService(ctx, c.Name, to) }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-ctx.Done()
		stop() // a second signal ends the program at once
	}()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// exitPanic carries kong's wish to end, after --help, up to run.
type exitPanic struct{ code int }

func run(ctx context.Context, args []string, out, errOut io.Writer) (code int) {
	defer func() {
		if p := recover(); p != nil {
			exit, ok := p.(exitPanic)
			if !ok {
				panic(p)
			}
			code = exit.code
		}
	}()
	var c cli
	parser, err := kong.New(&c, kong.Name("shop"), kong.Description("A small shop to try whosehop on.\n\nExample:\n  shop run --fault retries-exhausted"),
		kong.Writers(out, errOut), kong.Exit(func(code int) { panic(exitPanic{code}) }),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(streams{out, errOut}))
	if err != nil {
		_, _ = fmt.Fprintf(errOut, "shop: %v\n", err)
		return 1
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		_, _ = fmt.Fprintf(errOut, "shop: %v (try --help)\n", err)
		return 2
	}
	if err := parsed.Run(); err != nil {
		_, _ = fmt.Fprintf(errOut, "shop: %s\n", strings.TrimSpace(err.Error()))
		var usage usageError
		if errors.As(err, &usage) {
			return 2
		}
		return 1
	}
	return 0
}
