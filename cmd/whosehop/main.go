// Command whosehop says whose hop broke a request. Its subcommands are the roles and what people ask
// them; here is nothing but configuration and wiring.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/whosehop/whosehop/storage/server"
)

// version is set when a release is built.
var version = "dev"

func main() {
	if server.IsChild(os.Args) {
		os.Exit(server.ChildMain(os.Args))
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-ctx.Done()
		stop() // a second signal ends the program at once
	}()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// streams is what a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

type cli struct {
	Config      string `help:"Read settings from this YAML file; flags and WHOSEHOP_… variables win over it." type:"file" placeholder:"FILE" env:"WHOSEHOP_CONFIG"`
	PrintConfig bool   `help:"Print the settings that are in force, as a file for --config, and end."`

	Settings `embed:""`

	Up        upCmd        `cmd:"" help:"Run everything on one machine, with a ClickHouse of its own if none is named."`
	Collector collectorCmd `cmd:"" help:"Run the collector: OTLP in, ClickHouse out."`
	Analyzer  analyzerCmd  `cmd:"" help:"Run an analyzer: settled traces in, verdicts out."`
	Analyze   analyzeCmd   `cmd:"" help:"Judge the past, or judge it again."`
	Query     queryCmd     `cmd:"" help:"Run the query server: web pages, REST and gRPC."`
	Blame     blameCmd     `cmd:"" help:"Say whose hop broke a request, from the server or from a file."`
	Now       nowCmd       `cmd:"" help:"Say what is breaking right now, and whose it is."`
	Report    reportCmd    `cmd:"" help:"Say what an owner caused and suffered."`
	Rank      rankCmd      `cmd:"" help:"Say what is breaking requests, and whose it is."`
	Top       topCmd       `cmd:"" help:"Rank what caused the most."`
	Confirm   confirmCmd   `cmd:"" help:"Say that a verdict holds."`
	Contest   contestCmd   `cmd:"" help:"Say that a verdict does not hold, and why."`
	Reviews   reviewsCmd   `cmd:"" help:"Count the verdicts that were confirmed and contested, by rule, and list what was said."`
	Mcp       mcpCmd       `cmd:"" help:"Answer the questions of a language model, by the Model Context Protocol on standard input and output."`
	Owners    ownersCmd    `cmd:"" help:"Who owns what: read, check and apply what is written down of it."`
	Version   versionCmd   `cmd:"" help:"Print the version."`
	Complete  completeCmd  `cmd:"" name:"completion" help:"Print a completion script for a shell."`
}

const description = `Whose hop broke this request? Services send OpenTelemetry spans; whosehop names the hop that broke a
request, the team that owns it, and why everybody else is cleared.

Examples:
  whosehop up                                    everything on one machine
  whosehop blame 4bf92f3577b34da6a3ce929d0e0e4736
  whosehop blame --input trace.json --owners owners.yaml
  whosehop now                                   what is breaking, and whose it is
  whosehop report team-payments --since 168h`

// usageError is the user's: exit code 2.
type usageError struct{ error }

func run(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) (code int) {
	var c cli
	exited := -1
	files := &fileResolver{}
	parser, err := kong.New(&c, kong.Name("whosehop"), kong.Description(description), kong.Writers(out, errOut), kong.UsageOnError(),
		kong.Exit(func(code int) { exited = code; panic(exitPanic{}) }), kong.Resolvers(files), kong.DefaultEnvars("WHOSEHOP"), kong.NamedMapper("file", fileMapper{}),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}), kong.BindTo(ctx, (*context.Context)(nil)))
	if err != nil {
		_, _ = fmt.Fprintf(errOut, "whosehop: %v\n", err)
		return 1
	}
	defer func() {
		if p := recover(); p != nil {
			if _, ok := p.(exitPanic); !ok {
				panic(p)
			}
			code = exited
		}
	}()
	if err := files.load(configPath(args)); err != nil {
		_, _ = fmt.Fprintf(errOut, "whosehop: %v\n", oneLine(err))
		return 2
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		_, _ = fmt.Fprintf(errOut, "whosehop: %v (try --help)\n", oneLine(err))
		return 2
	}
	if c.PrintConfig {
		return report(errOut, c.writeYAML(out))
	}
	s := &streams{in: in, out: out, err: errOut}
	return report(errOut, parsed.Run(s, &c.Settings, parser.Model))
}

// exitPanic carries kong's exit (after --help) out of its parser.
type exitPanic struct{}

func report(errOut io.Writer, err error) int {
	if err == nil {
		return 0
	}
	_, _ = fmt.Fprintf(errOut, "whosehop: %s\n", oneLine(err))
	var usage usageError
	if errors.As(err, &usage) {
		return 2
	}
	return 1
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

type versionCmd struct{}

func (versionCmd) Help() string { return "Example:\n  whosehop version" }

func (versionCmd) Run(s *streams) error {
	revision := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" {
				revision = " " + setting.Value[:min(12, len(setting.Value))]
			}
		}
	}
	_, err := fmt.Fprintf(s.out, "whosehop %s%s\n", version, revision)
	return err
}
