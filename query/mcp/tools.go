package mcp

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/whosehop/whosehop/ownership"
	"github.com/whosehop/whosehop/ownership/coverage"
	"github.com/whosehop/whosehop/query"
	"github.com/whosehop/whosehop/query/term"
	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/verdict"
)

// tools are the questions as a model asks them.
type tools struct {
	service *query.Service
	log     *slog.Logger
}

// The defaults of what is listed: less than a person would want on a page.
const (
	entriesDefault = 8
	hopsMost       = 3
	listDefault    = 15
	partsDefault   = 5
	entriesMost    = 5 // verdicts of one trace
)

// plain draws without colours.
var plain term.Painter

// register adds all tools.
func (t *tools) register(s *mcp.Server) {
	tool(s, t, "whats_breaking", "What is breaking right now",
		"What is breaking right now: the entries (where requests come in) that fail or are slow, the worst first, and for each the hops to blame with owner, share, rule, trend, since when, "+
			"whether it began with a new version, and a trace that shows it. The window is the last hour if nothing is said, and six hours at most; use top for longer ones.",
		t.breaking, func(w io.Writer, n *query.NowResponse) error { return plain.Now(w, n, n.To) })
	tool(s, t, "verdict", "Whose hop broke a trace",
		"The verdict on one trace: the sentence (whose hop, what happened there), each share of the blame with owner, confidence, rule, evidence and the runner-up, and every hop with its role and why it is "+
			"to blame or cleared. A trace that has not settled is judged on the spot (provisional).",
		t.verdict, drawVerdicts)
	tool(s, t, "why_not", "Why a service is not to blame",
		"Why one service of a trace is not to blame for it, or that it is: its part in a few sentences, and each rule that was tried on its spans with why it did or did not fit. For those who suspect something else than the verdict.",
		t.whyNot, drawWhyNot)
	tool(s, t, "search_verdicts", "Find verdicts",
		"Finds verdicts on requests that failed, were slow or hid a failure, newest first, by who is to blame, where, by which rule, of which version. Answers a page; nextPageToken continues it.",
		t.search, drawFound)
	tool(s, t, "owner_report", "What an owner caused and suffered",
		"Everything known of one owner over a time (a day if nothing is said): what it caused and what it only suffered, beside the week before, by service, operation, edge, version and rule, "+
			"faults that keep coming back, and what nobody owns beside its services.",
		t.report, func(w io.Writer, r *query.ReportResponse) error { return plain.Report(w, r) })
	tool(s, t, "top", "What caused the most",
		"Ranks what caused the most failed, degraded or slow requests: by owner, service, operation, edge (between two services), fingerprint (one fault), rule, class, version or entry. Any window up to 400 days.",
		t.top, drawTop)
	tool(s, t, "attribution", "Who caused and who suffered",
		"What each owner caused and suffered over a time, added up. Caused adds up to all requests with a symptom: \"unowned\", \"user\" and \"unknown\" are among the owners.",
		t.attribution, drawAttribution)
	tool(s, t, "service_map", "Who calls whom",
		"Who calls whom, and what each edge cost: requests broken by the edge itself, by its callee, by its caller. The costliest first. With focus or owner only what is near.",
		t.serviceMap, drawMap)
	tool(s, t, "edge", "What went wrong on an edge",
		"What went wrong where one service calls another, or a peer that sends no spans, in the last hour if nothing is said: requests broken by the edge itself, by its callee, by its caller; "+
			"in which phase of the call, and which sites are to blame, each with a fingerprint and a trace that shows it.",
		t.edge, drawEdge)
	tool(s, t, "resolve_owner", "Who owns something",
		"Who owns a service, an operation of it, something that sends no spans (a database, a third party), the edge between two services, or a source file: now or at a time, "+
			"with whom to call and which record says so. Give service, peer, edge or code_path.",
		t.resolve, drawResolution)
	tool(s, t, "coverage", "What runs without an owner",
		"What runs without a real owner, what did most harm first: services and edges that nobody owns, owners that are gone, without on-call, runbook or review; with who might own it and why.",
		t.coverage, func(w io.Writer, c *coverageAnswer) error { return plain.Coverage(w, &c.Report, "") })
	tool(s, t, "rank", "Suspects against normal",
		"Compares the requests of a window with as long a time before, and ranks the services most likely to break or slow them, each with why and traces that show it. Slower than whats_breaking, and judges afresh.",
		t.rank, drawRank)
}

// window is the time that is asked about.
type window struct {
	Since string `json:"since,omitempty" jsonschema:"How far to look back from now, as 30m or 24h. Not beside from."`
	From  string `json:"from,omitempty" jsonschema:"Requests that began then or later: RFC 3339, as 2026-01-31T10:00:00Z."`
	To    string `json:"to,omitempty" jsonschema:"Requests that began before: RFC 3339. Now if not given."`
}

func (w *window) times() (from, to time.Time, err error) {
	if from, err = instant("from", w.From); err != nil {
		return from, to, err
	}
	if to, err = instant("to", w.To); err != nil || w.Since == "" {
		return from, to, err
	}
	since, err := time.ParseDuration(w.Since)
	if err != nil || since <= 0 || w.From != "" {
		return from, to, query.Wrong("since", "since %q is not a positive duration as 30m or 168h, or stands beside from", w.Since)
	}
	return time.Now().Add(-since), to, nil
}

func instant(name, text string) (at time.Time, err error) {
	if text == "" {
		return at, nil
	}
	ns, err := query.ParseInstant(text)
	if err != nil {
		return at, query.Wrong(name, "%s %v", name, err)
	}
	return time.Unix(0, ns).UTC(), nil
}

type breakingArgs struct {
	window
	Entry string `json:"entry,omitempty" jsonschema:"Only requests that came in here: a service, an operation, or both with a space between."`
	Owner string `json:"owner,omitempty" jsonschema:"Only hops that are this owner's."`
	Limit int    `json:"limit,omitempty" jsonschema:"Entries at most: 1 to 50, 8 if not given."`
}

func (t *tools) breaking(ctx context.Context, a breakingArgs) (*query.NowResponse, error) {
	from, to, err := a.times()
	if err != nil {
		return nil, err
	}
	n, err := listLimit(a.Limit, entriesDefault)
	if err != nil {
		return nil, err
	}
	answer, err := t.service.Now(ctx, query.NowRequest{From: from, To: to, Entry: a.Entry, Owner: a.Owner, Limit: hopsMost})
	if err != nil {
		return nil, err
	}
	shown := min(n, len(answer.Entries))
	answer.More += len(answer.Entries) - shown
	answer.Entries = answer.Entries[:shown]
	return answer, nil
}

type verdictArgs struct {
	TraceID string `json:"trace_id" jsonschema:"The trace: 32 hexadecimal digits."`
}

type verdictsAnswer struct {
	Verdicts []verdict.Verdict `json:"verdicts"`       // one for each entry of the trace
	More     int               `json:"more,omitempty"` // entries that are left out
}

func (t *tools) verdict(ctx context.Context, a verdictArgs) (*verdictsAnswer, error) {
	verdicts, err := t.service.Verdicts(ctx, a.TraceID)
	if err != nil {
		return nil, err
	}
	shown := min(entriesMost, len(verdicts))
	answer := &verdictsAnswer{Verdicts: slices.Clone(verdicts[:shown]), More: len(verdicts) - shown}
	for i := range answer.Verdicts {
		v := &answer.Verdicts[i]
		v.Hops = slices.Clone(v.Hops)
		// Those that had a part in it come first, so that they stay if the list is cut.
		slices.SortStableFunc(v.Hops, func(a, b verdict.Hop) int { return cmp.Compare(rankOf(a.Role), rankOf(b.Role)) })
		for k := range v.Hops {
			v.Hops[k].SpanIDs = nil
		}
	}
	return answer, nil
}

func rankOf(r verdict.Role) int {
	if r == verdict.RoleCleared {
		return 1
	}
	return 0
}

func drawVerdicts(w io.Writer, a *verdictsAnswer) error {
	for i := range a.Verdicts {
		if err := plain.Verdict(w, &a.Verdicts[i]); err != nil {
			return err
		}
	}
	if a.More > 0 {
		_, err := fmt.Fprintf(w, "%d more entries of this trace\n", a.More)
		return err
	}
	return nil
}

type whyNotArgs struct {
	TraceID string `json:"trace_id" jsonschema:"The trace: 32 hexadecimal digits."`
	Service string `json:"service" jsonschema:"The service, or the peer that sends no spans."`
}

type whyNotAnswer struct {
	Answers []verdict.WhyNot `json:"answers"` // one for each entry that it has a part in
}

func (t *tools) whyNot(ctx context.Context, a whyNotArgs) (*whyNotAnswer, error) {
	answers, err := t.service.WhyNot(ctx, a.TraceID, a.Service)
	if err != nil {
		return nil, err
	}
	return &whyNotAnswer{answers}, nil
}

func drawWhyNot(w io.Writer, a *whyNotAnswer) error {
	var b strings.Builder
	for i := range a.Answers {
		answer := &a.Answers[i]
		fmt.Fprintf(&b, "%s in %s %s: %s\n", answer.Service, answer.Entry.Service, answer.Entry.Operation, strings.Join(answer.Answer, " "))
		for _, tried := range answer.Tried {
			sign := "does not fit"
			if tried.Fits {
				sign = "fits"
			}
			fmt.Fprintf(&b, "  %s %s: %s\n", tried.Rule, sign, tried.Why)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

type searchArgs struct {
	window
	Owner       string            `json:"owner,omitempty" jsonschema:"An owner who carries a share of the blame."`
	Service     string            `json:"service,omitempty" jsonschema:"A service in the trace, to blame or not."`
	Operation   string            `json:"operation,omitempty" jsonschema:"The operation of the entry, or of a site that is to blame."`
	Entry       string            `json:"entry,omitempty" jsonschema:"Where the request came in: a service, an operation, or both with a space between."`
	Symptom     string            `json:"symptom,omitempty" jsonschema:"error (it failed), degraded (it succeeded over a failure) or latency (it was slow)."`
	Rule        string            `json:"rule,omitempty" jsonschema:"The rule that fitted, as self-error or timeout-silent."`
	Class       string            `json:"class,omitempty" jsonschema:"The class of the failure, as TIMEOUT, REFUSED or INTERNAL."`
	ErrorType   string            `json:"error_type,omitempty" jsonschema:"The type of the error, as an exception's name."`
	Fingerprint string            `json:"fingerprint,omitempty" jsonschema:"16 hexadecimal digits: the same fault in other traces."`
	Version     string            `json:"version,omitempty" jsonschema:"The service.version of who must act."`
	Caller      string            `json:"caller,omitempty" jsonschema:"The calling service of an edge that is to blame, or over which the site was called."`
	Callee      string            `json:"callee,omitempty" jsonschema:"The other side of that edge."`
	MinDuration string            `json:"min_duration,omitempty" jsonschema:"The request took that long, as 250ms."`
	MaxDuration string            `json:"max_duration,omitempty" jsonschema:"The request took no longer."`
	Attributes  map[string]string `json:"attributes,omitempty" jsonschema:"Attributes of spans of the trace, at most 4. Slower than the others."`
	Limit       int               `json:"limit,omitempty" jsonschema:"1 to 50, 15 if not given."`
	PageToken   string            `json:"page_token,omitempty" jsonschema:"nextPageToken of the page before, with the same other arguments."`
}

// found is a verdict in a list.
type found struct {
	TraceID    string    `json:"traceId"`
	Entry      string    `json:"entry"`
	Start      time.Time `json:"start"`
	DurationNs int64     `json:"durationNs"`
	Symptom    string    `json:"symptom"`
	Summary    string    `json:"summary"`
	Owners     []string  `json:"owners"`
	Rules      []string  `json:"rules"`
	Represents float64   `json:"represents"` // requests
}

type foundAnswer struct {
	Verdicts      []found  `json:"verdicts"`
	NextPageToken string   `json:"nextPageToken,omitempty"`
	Missing       []string `json:"missing,omitempty"`
}

func (t *tools) search(ctx context.Context, a searchArgs) (*foundAnswer, error) {
	from, to, err := a.times()
	if err != nil {
		return nil, err
	}
	n, err := listLimit(a.Limit, listDefault)
	if err != nil {
		return nil, err
	}
	took := func(name, text string) int64 {
		d, wrong := time.ParseDuration(cmp.Or(text, "0s"))
		if wrong != nil && err == nil {
			err = query.Wrong(name, "%s %q is not a duration as 250ms", name, text)
		}
		return d.Nanoseconds()
	}
	request := query.ListRequest{
		VerdictFilter: storage.VerdictFilter{
			From: from, To: to, Owner: a.Owner, Service: a.Service, Operation: a.Operation, Entry: a.Entry, Symptom: a.Symptom, Rule: a.Rule, Class: a.Class,
			ErrorType: a.ErrorType, Fingerprint: a.Fingerprint, Version: a.Version, Caller: a.Caller, Callee: a.Callee,
			MinNs: took("min_duration", a.MinDuration), MaxNs: took("max_duration", a.MaxDuration), Attributes: a.Attributes,
		},
		PageSize: n, PageToken: a.PageToken,
	}
	if err != nil {
		return nil, err
	}
	page, err := t.service.List(ctx, request)
	if err != nil {
		return nil, err
	}
	answer := &foundAnswer{Verdicts: []found{}, NextPageToken: page.NextPageToken, Missing: page.Missing}
	for _, v := range page.Verdicts {
		answer.Verdicts = append(answer.Verdicts, found{
			TraceID: v.Key.TraceID, Entry: v.Service + " " + v.Operation, Start: time.Unix(0, v.Key.StartNs).UTC(), DurationNs: v.DurationNs,
			Symptom: v.Symptom, Summary: v.Summary, Owners: v.Owners, Rules: v.Rules, Represents: v.Represents,
		})
	}
	return answer, nil
}

func drawFound(w io.Writer, a *foundAnswer) error {
	var b strings.Builder
	if len(a.Verdicts) == 0 {
		b.WriteString("no verdict fits; look further back with since, or leave a filter out\n")
	}
	for _, v := range a.Verdicts {
		fmt.Fprintf(&b, "%s  %s  %s\n", v.TraceID, v.Start.Format("2006-01-02 15:04:05"), v.Summary)
	}
	if a.NextPageToken != "" {
		fmt.Fprintf(&b, "more with page_token %s\n", a.NextPageToken)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

type reportArgs struct {
	window
	Owner string `json:"owner" jsonschema:"The team, as verdicts name it; also unowned, user or unknown."`
	Limit int    `json:"limit,omitempty" jsonschema:"Elements of each list: 1 to 50, 5 if not given."`
}

func (t *tools) report(ctx context.Context, a reportArgs) (*query.ReportResponse, error) {
	from, to, err := a.times()
	if err != nil {
		return nil, err
	}
	n, err := listLimit(a.Limit, partsDefault)
	if err != nil {
		return nil, err
	}
	answer, err := t.service.Report(ctx, query.ReportRequest{Owner: a.Owner, From: from, To: to, Limit: n})
	if err != nil {
		return nil, err
	}
	answer.Rows = []query.AttributionRow{} // over time there is nothing that the sums do not say
	return answer, nil
}

type topArgs struct {
	window
	By    string `json:"by,omitempty" jsonschema:"owner, service, operation, edge, fingerprint, rule, class, version or entry; owner if not given."`
	Owner string `json:"owner,omitempty" jsonschema:"Only what this owner caused."`
	Entry string `json:"entry,omitempty" jsonschema:"Only requests that came in here: a service, an operation, or both with a space between."`
	Limit int    `json:"limit,omitempty" jsonschema:"1 to 50, 15 if not given."`
}

// topAnswer remembers what was asked for, which names the column.
type topAnswer struct {
	By string `json:"by"`
	query.TopResponse
}

func (t *tools) top(ctx context.Context, a topArgs) (*topAnswer, error) {
	from, to, err := a.times()
	if err != nil {
		return nil, err
	}
	n, err := listLimit(a.Limit, listDefault)
	if err != nil {
		return nil, err
	}
	by := cmp.Or(a.By, "owner")
	answer, err := t.service.Top(ctx, query.TopRequest{From: from, To: to, By: by, Owner: a.Owner, Entry: a.Entry, Limit: n})
	if err != nil {
		return nil, err
	}
	return &topAnswer{by, *answer}, nil
}

func drawTop(w io.Writer, a *topAnswer) error {
	rows := make([]term.TopRow, len(a.Rows))
	for i, p := range a.Rows {
		rows[i] = term.TopRow{Name: p.Name, Owner: p.Owner, Rule: p.Rule, Exemplar: p.Exemplar, Caused: p.Requests}
	}
	return plain.Top(w, a.By, rows)
}

type attributionArgs struct {
	window
	Owner string `json:"owner,omitempty" jsonschema:"Only this owner."`
}

// attributionAnswer is a sum for each owner.
type attributionAnswer struct {
	query.Window
	Owners  []ownerSums   `json:"owners"`
	Total   query.Amounts `json:"total"`
	Missing []string      `json:"missing,omitempty"`
}

type ownerSums struct {
	Owner    string        `json:"owner"`
	Caused   query.Amounts `json:"caused"`
	Suffered query.Amounts `json:"suffered"`
}

func (t *tools) attribution(ctx context.Context, a attributionArgs) (*attributionAnswer, error) {
	from, to, err := a.times()
	if err != nil {
		return nil, err
	}
	got, err := t.service.Attribution(ctx, query.AttributionRequest{From: from, To: to, Owner: a.Owner})
	if err != nil {
		return nil, err
	}
	answer := &attributionAnswer{Window: got.Window, Owners: []ownerSums{}, Total: got.Total, Missing: got.Missing}
	at := make(map[string]int)
	for i := range got.Rows {
		r := &got.Rows[i]
		k, ok := at[r.Owner]
		if !ok {
			k = len(answer.Owners)
			at[r.Owner] = k
			answer.Owners = append(answer.Owners, ownerSums{Owner: r.Owner})
		}
		add(&answer.Owners[k].Caused, &r.Caused)
		add(&answer.Owners[k].Suffered, &r.Suffered)
	}
	slices.SortStableFunc(answer.Owners, func(a, b ownerSums) int {
		return cmp.Or(cmp.Compare(b.Caused.Requests, a.Caused.Requests), cmp.Compare(b.Suffered.Requests, a.Suffered.Requests))
	})
	return answer, nil
}

func add(sum, a *query.Amounts) {
	sum.Requests += a.Requests
	sum.Failed += a.Failed
	sum.Degraded += a.Degraded
	sum.Slow += a.Slow
	sum.Stored += a.Stored
	sum.ExcessNs += a.ExcessNs
}

func drawAttribution(w io.Writer, a *attributionAnswer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%.1f requests failed or were slow, from %s to %s\n%8s  %8s  owner\n", a.Total.Requests, a.From.Format(time.RFC3339), a.To.Format(time.RFC3339), "caused", "suffered")
	for _, o := range a.Owners {
		fmt.Fprintf(&b, "%8.1f  %8.1f  %s\n", o.Caused.Requests, o.Suffered.Requests, o.Owner)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

type mapArgs struct {
	window
	Focus string `json:"focus,omitempty" jsonschema:"Only this service, and what is at most depth calls away from it."`
	Depth int    `json:"depth,omitempty" jsonschema:"1 to 5, 1 if not given."`
	Owner string `json:"owner,omitempty" jsonschema:"Only the services of this owner, and their neighbours."`
}

func (t *tools) serviceMap(ctx context.Context, a mapArgs) (*query.MapResponse, error) {
	from, to, err := a.times()
	if err != nil {
		return nil, err
	}
	return t.service.Map(ctx, query.MapRequest{From: from, To: to, Focus: a.Focus, Depth: a.Depth, Owner: a.Owner})
}

func drawMap(w io.Writer, m *query.MapResponse) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%8s  %8s  %8s  %8s  edge (requests broken by itself, by its callee, by its caller)\n", "calls", "itself", "callee", "caller")
	for i := range m.Edges {
		e := &m.Edges[i]
		fmt.Fprintf(&b, "%8.0f  %8.1f  %8.1f  %8.1f  %s -> %s\n", e.Calls, e.Itself.Requests, e.ByCallee.Requests, e.ByCaller.Requests, e.Caller, e.Callee)
	}
	for _, n := range m.Nodes {
		fmt.Fprintf(&b, "%s: owner %s, caused %.1f requests by itself\n", n.Name, n.Owner, n.Caused.Requests)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

type edgeArgs struct {
	window
	Caller string `json:"caller" jsonschema:"The service that calls, as service_map names it."`
	Callee string `json:"callee" jsonschema:"The service or peer that is called."`
	Limit  int    `json:"limit,omitempty" jsonschema:"Elements of each list: 1 to 50, 5 if not given."`
}

func (t *tools) edge(ctx context.Context, a edgeArgs) (*query.EdgeResponse, error) {
	from, to, err := a.times()
	if err != nil {
		return nil, err
	}
	n, err := listLimit(a.Limit, partsDefault)
	if err != nil {
		return nil, err
	}
	return t.service.Edge(ctx, query.EdgeRequest{From: from, To: to, Caller: a.Caller, Callee: a.Callee, Limit: n})
}

func drawEdge(w io.Writer, r *query.EdgeResponse) error {
	var b strings.Builder
	e := &r.Edge
	fmt.Fprintf(&b, "%s -> %s: %.0f calls, %.0f failed, from %s to %s\n", e.Caller, e.Callee, e.Calls, e.Failed, r.From.Format(time.RFC3339), r.To.Format(time.RFC3339))
	fmt.Fprintf(&b, "requests broken by itself %.1f, by its callee %.1f, by its caller %.1f\n", e.Itself.Requests, e.ByCallee.Requests, e.ByCaller.Requests)
	for _, list := range []struct {
		of    string
		parts []query.Part
	}{{"by itself", r.Phases}, {"to blame", r.Sites}} {
		for i := range list.parts {
			p := &list.parts[i]
			fmt.Fprintf(&b, "%8.1f  %s: %s of %s, by %s; trace %s\n", p.Requests, list.of, p.Name, p.Owner, p.Rule, p.Exemplar)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

type resolveArgs struct {
	Service     string            `json:"service,omitempty" jsonschema:"A service."`
	Namespace   string            `json:"namespace,omitempty" jsonschema:"Its namespace, where several have a service of that name."`
	Environment string            `json:"environment,omitempty" jsonschema:"The environment, as production."`
	Operation   string            `json:"operation,omitempty" jsonschema:"An operation of the service: the name of a span."`
	Peer        string            `json:"peer,omitempty" jsonschema:"Something that sends no spans: a datastore, a queue, a third party."`
	Edge        string            `json:"edge,omitempty" jsonschema:"CALLER->CALLEE or CALLER->CALLEE:PHASE, by itself."`
	CodePath    string            `json:"code_path,omitempty" jsonschema:"A source file."`
	Attributes  map[string]string `json:"attributes,omitempty" jsonschema:"Resource attributes of the service."`
	At          string            `json:"at,omitempty" jsonschema:"At that time: RFC 3339. Now if not given."`
	Why         bool              `json:"why,omitempty" jsonschema:"Tell which rules were tried."`
}

func (t *tools) resolve(ctx context.Context, a resolveArgs) (*ownership.Resolution, error) {
	at, err := instant("at", a.At)
	if err != nil {
		return nil, err
	}
	return t.service.ResolveOwner(ctx, ownership.Inquiry{
		Service: a.Service, Namespace: a.Namespace, Environment: a.Environment, Operation: a.Operation, Peer: a.Peer, Edge: a.Edge, CodePath: a.CodePath, Attributes: a.Attributes, At: at,
	}, a.Why)
}

func drawResolution(w io.Writer, r *ownership.Resolution) error {
	_, err := fmt.Fprintf(w, "%s is owned by %s: %s\n", r.About, r.Owner, r.Why)
	return err
}

type coverageArgs struct {
	window
	Kind  string `json:"kind,omitempty" jsonschema:"Only findings of this kind: no-owner, edge-no-owner, owner-gone, no-on-call, no-runbook, no-dashboard, no-reviewer or not-reviewed."`
	Limit int    `json:"limit,omitempty" jsonschema:"1 to 50, 15 if not given."`
}

type coverageAnswer struct {
	query.Window
	coverage.Report
	Missing []string `json:"missing,omitempty"`
}

func (t *tools) coverage(ctx context.Context, a coverageArgs) (*coverageAnswer, error) {
	from, to, err := a.times()
	if err != nil {
		return nil, err
	}
	n, err := listLimit(a.Limit, listDefault)
	if err != nil {
		return nil, err
	}
	got, err := t.service.Coverage(ctx, query.CoverageRequest{From: from, To: to, Kind: a.Kind, Limit: n})
	if err != nil {
		return nil, err
	}
	for i := range got.Findings {
		if s := got.Findings[i].Suggestion; s != nil { // a copy without what the record says too, in lines
			short := *s
			short.YAML = ""
			got.Findings[i].Suggestion = &short
		}
	}
	return &coverageAnswer{query.Window{From: got.From, To: got.To}, got.Report, got.Missing}, nil
}

type rankArgs struct {
	window
	Entry string `json:"entry,omitempty" jsonschema:"Only requests that came in here: an operation, or a service and an operation."`
	Limit int    `json:"limit,omitempty" jsonschema:"1 to 50, 15 if not given."`
}

type rankAnswer struct {
	Suspects []verdict.Suspect `json:"suspects"`
	Missing  []string          `json:"missing,omitempty"`
}

func (t *tools) rank(ctx context.Context, a rankArgs) (*rankAnswer, error) {
	from, to, err := a.times()
	if err != nil {
		return nil, err
	}
	n, err := listLimit(a.Limit, listDefault)
	if err != nil {
		return nil, err
	}
	got, err := t.service.Rank(ctx, query.RankRequest{From: from, To: to, Entry: a.Entry, Limit: n})
	if err != nil {
		return nil, err
	}
	return &rankAnswer{append([]verdict.Suspect{}, got.Suspects...), got.Missing}, nil
}

func drawRank(w io.Writer, a *rankAnswer) error { return plain.Suspects(w, a.Suspects) }
