package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/whosehop/whosehop/ownership"
	"github.com/whosehop/whosehop/query"
)

type ownersResolveCmd struct {
	serverFlags `embed:""`

	Service     string            `help:"Who owns this service?" placeholder:"NAME"`
	Namespace   string            `help:"Its service.namespace." placeholder:"NAME"`
	Environment string            `help:"Its deployment.environment.name." placeholder:"NAME"`
	Operation   string            `help:"Who owns this operation of it? The name of a span." placeholder:"NAME"`
	Peer        string            `help:"Who owns this datastore, queue or third party? With --service, as that service calls it." placeholder:"NAME"`
	Edge        string            `help:"Who owns what is between two services? The phase is network, queue, pool, budget, contract, connect, request, response or backoff; none is the edge as a whole." placeholder:"CALLER->CALLEE[:PHASE]"`
	Attribute   map[string]string `help:"An attribute of its resource; may be given again." placeholder:"KEY=VALUE" mapsep:"none"`
	CodePath    string            `help:"The source file that ran." placeholder:"FILE"`
	At          string            `help:"Who owned it then? RFC 3339, a date (midnight UTC) or Unix nanoseconds; now if not given." placeholder:"TIME"`
	Why         bool              `help:"Print the rules that were tried."`
	Owners      string            `help:"Ask this file or folder, and no server." placeholder:"PATH"`
	Output      string            `help:"text or json." short:"o" enum:"text,json" default:"text"`
}

func (ownersResolveCmd) Help() string {
	return `Says who owns a service, a peer or an edge, by which record, and how the owner is reached. The exit code is 1 when nobody
owns it. Of an edge that no record speaks of, the phase says whose side must act: the caller's for pool, budget and
backoff, the callee's for queue. --service with --peer is the edge between the two if a record speaks of that edge, and
else the peer.

Examples:
  whosehop owners resolve --service payments --operation "POST /refund"
  whosehop owners resolve --edge checkout->payments:pool --at 2026-11-03T12:00:00Z --why
  whosehop owners resolve --peer orders-db --owners owners.yaml -o json`
}

func (c *ownersResolveCmd) Run(ctx context.Context, s *streams, set *Settings) error {
	inquiry := ownership.Inquiry{
		Service: c.Service, Namespace: c.Namespace, Environment: c.Environment, Operation: c.Operation, Peer: c.Peer, Edge: c.Edge,
		CodePath: c.CodePath, Attributes: c.Attribute,
	}
	if c.At != "" {
		ns, err := query.ParseInstant(c.At)
		if err != nil {
			return usageError{fmt.Errorf("--at: %w", err)}
		}
		inquiry.At = time.Unix(0, ns)
	}
	if err := inquiry.Check(); err != nil {
		return usageError{fmt.Errorf("owners resolve: %w", err)}
	}
	var answer *ownership.Resolution
	var err error
	if c.Owners != "" {
		answer, err = c.fromFiles(s, set, inquiry)
	} else {
		answer, err = c.fromServer(ctx, inquiry.At)
	}
	if err != nil {
		return err
	}
	if err := c.print(s.out, answer); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	if answer.Owner == ownership.Unowned {
		return fmt.Errorf("nobody owns %s: write it down in the registry's files", answer.About)
	}
	return nil
}

func (c *ownersResolveCmd) fromFiles(s *streams, set *Settings, inquiry ownership.Inquiry) (*ownership.Resolution, error) {
	registry, err := set.Ownership.load(c.Owners, s.err)
	if err != nil {
		return nil, err
	}
	answer, err := registry.Inquire(inquiry)
	if err == nil && !c.Why {
		answer.Trail = nil
	}
	return answer, err
}

func (c *ownersResolveCmd) fromServer(ctx context.Context, at time.Time) (*ownership.Resolution, error) {
	params := make(url.Values)
	for name, value := range map[string]string{
		"service": c.Service, "namespace": c.Namespace, "environment": c.Environment, "operation": c.Operation, "peer": c.Peer, "edge": c.Edge,
		"codePath": c.CodePath,
	} {
		if value != "" {
			params.Set(name, value)
		}
	}
	if !at.IsZero() {
		params.Set("at", at.UTC().Format(time.RFC3339Nano))
	}
	for key, value := range c.Attribute {
		params.Add("attribute", key+"="+value)
	}
	if c.Why {
		params.Set("why", "true")
	}
	body, err := c.get(ctx, "/api/v1/owners/resolve", params)
	if err != nil {
		return nil, err
	}
	var answer ownership.Resolution
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", c.Server, err)
	}
	if answer.Owner == "" {
		return nil, errors.New("the answer names no owner: is --server a whosehop of this version?")
	}
	return &answer, nil
}

func (c *ownersResolveCmd) print(to io.Writer, answer *ownership.Resolution) error {
	out := bufio.NewWriter(to)
	if c.Output == "json" {
		lines := json.NewEncoder(out)
		lines.SetEscapeHTML(false)
		if err := lines.Encode(answer); err != nil {
			return err
		}
		return out.Flush()
	}
	_, _ = fmt.Fprintf(out, "%s: %s\n", answer.About, answer.Owner)
	line := func(name, value string) {
		if value != "" {
			_, _ = fmt.Fprintf(out, "  %-11s %s\n", name, value)
		}
	}
	line("why", answer.Why)
	if answer.Side != "" {
		line("side", answer.Side+"; "+answer.SideWhy)
	}
	for _, side := range answer.Sides {
		line(side.Side, fmt.Sprintf("%s: %s (%s)", side.Service, side.Owner, side.Why))
	}
	if c.At != "" {
		line("at", answer.At.Format(time.RFC3339))
	}
	line("also", strings.Join(answer.Owners, ", "))
	charter := &answer.Charter
	line("on call", charter.OnCall)
	line("escalation", strings.Join(charter.Escalation, ", then "))
	line("chat", charter.Chat)
	line("email", charter.Email)
	line("runbook", charter.Runbook)
	line("dashboard", charter.Dashboard)
	line("repository", charter.Repository)
	line("reviewer", charter.Reviewer)
	line("tier", charter.Tier)
	line("lifecycle", charter.Lifecycle)
	line("SLO", charter.SLO)
	line("contract", charter.Contract)
	for i, step := range answer.Trail {
		name := "tried"
		if i > 0 {
			name = ""
		}
		note := "no: " + step.Note
		if step.Found {
			note = "yes: " + step.Note
		}
		_, _ = fmt.Fprintf(out, "  %-11s %-10s %s\n", name, step.Rule, note)
	}
	return out.Flush()
}
