// Command shop is a small shop of ten processes that speak HTTP and gRPC, with a database, a third
// party and a queue, instrumented as services usually are. It is under steady load, and one fault
// can be switched on: it is what whosehop is tried on, by people and by its tests.
package main

import (
	"context"
	"encoding/json"
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
	Service serviceCmd `cmd:"" hidden:"" help:"Run one service."`
}

type runCmd struct {
	Fault string        `help:"The fault to switch on; see shop faults." placeholder:"NAME"`
	Rate  float64       `help:"Requests a second." default:"10"`
	OTLP  string        `name:"otlp" help:"Where the spans go." default:"http://127.0.0.1:4317" env:"OTEL_EXPORTER_OTLP_ENDPOINT" placeholder:"URL"`
	For   time.Duration `help:"End after so long; 0 is at Ctrl-C."`
	Seed  int64         `help:"Which of the requests the fault hits." default:"1"`
}

func (runCmd) Help() string {
	return "Example:\n  shop run --fault leaf-error --otlp http://127.0.0.1:4317"
}

func (c *runCmd) Run(ctx context.Context, out io.Writer) error {
	if c.Fault != "" && findFault(c.Fault) == nil {
		return fmt.Errorf("there is no fault %q; shop faults lists them", c.Fault)
	}
	if c.Rate <= 0 || c.Rate > 1000 {
		return fmt.Errorf("--rate: %g is not within 0 and 1000", c.Rate)
	}
	if c.For > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.For)
		defer cancel()
	}
	return runShop(ctx, c, out)
}

type faultsCmd struct {
	Output string `short:"o" enum:"text,json" default:"text" help:"text or json."`
}

func (c *faultsCmd) Run(out io.Writer) error {
	if c.Output == "json" {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		return enc.Encode(faults)
	}
	for _, f := range faults {
		if _, err := fmt.Fprintf(out, "%-18s %s\n%-18s to blame: %s\n", f.Name, f.Story, "", f.Expect.Sites[0]); err != nil {
			return fmt.Errorf("print: %w", err)
		}
	}
	return nil
}

type ownersCmd struct{}

func (ownersCmd) Run(out io.Writer) error {
	_, err := io.WriteString(out, ownersFile)
	return err
}

type serviceCmd struct {
	Name string `arg:"" help:"Which."`
}

func (c *serviceCmd) Run(ctx context.Context) error { return runService(ctx, c.Name) }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, out, errOut io.Writer) (code int) {
	var c cli
	parser, err := kong.New(&c, kong.Name("shop"), kong.Description("A small shop to try whosehop on.\n\nExample:\n  shop run --fault retries-exhausted"),
		kong.Writers(out, errOut), kong.BindTo(ctx, (*context.Context)(nil)), kong.BindTo(out, (*io.Writer)(nil)))
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
		return 1
	}
	return 0
}
