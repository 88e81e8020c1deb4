package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	whosehopv1 "github.com/whosehop/whosehop/proto/whosehop/v1"
)

// asked is what there is to ask about.
type asked struct {
	random                     *rand.Rand
	owners, services, entries  []string
	failingTraces, healthyOnes []string
	storefronts                []string // failing ones that came in there
	orders                     []string
	giant                      string
}

func newAsked() *asked {
	return &asked{random: rand.New(rand.NewPCG(13, 17)), owners: []string{""}, services: []string{""}, entries: []string{""}, failingTraces: []string{""}, healthyOnes: []string{""}, storefronts: []string{""}, orders: []string{""}}
}

func one(w *asked, of ...string) string { return of[w.random.IntN(len(of))] }

func (w *asked) owner() string      { return one(w, w.owners...) }
func (w *asked) service() string    { return one(w, w.services...) }
func (w *asked) entry() string      { return one(w, w.entries...) }
func (w *asked) failing() string    { return one(w, w.failingTraces...) }
func (w *asked) storefront() string { return one(w, w.storefronts...) }
func (w *asked) healthy() string    { return one(w, w.healthyOnes...) }

// knowAll reads some thousand trace ids of all of the week.
func (b *bench) knowAll(ctx context.Context) (w *asked, err error) {
	w = newAsked()
	w.giant = b.filled.Giant
	w.owners = append(teams(b.week.services), "unowned")
	w.services, w.entries = nil, nil
	for _, s := range b.week.services {
		w.services = append(w.services, s.name)
	}
	for _, o := range entries(b.week.services) {
		w.entries = append(w.entries, o.name)
	}
	if w.failingTraces, err = b.store.Strings(ctx, "SELECT TraceId FROM whosehop.verdicts WHERE notEmpty(Entries.Symptom) ORDER BY cityHash64(TraceId) LIMIT 5000"); err != nil {
		return nil, err
	}
	if w.storefronts, err = b.store.Strings(ctx, "SELECT TraceId FROM whosehop.verdicts WHERE has(Entries.Service, 'storefront') ORDER BY cityHash64(TraceId) LIMIT 5000"); err != nil {
		return nil, err
	}
	if w.orders, err = b.store.Strings(ctx, `SELECT DISTINCT SpanAttributes['app.order.id'] FROM whosehop.otel_traces WHERE ServiceName = 'checkout' AND SpanName = 'acme.Checkout/Place'
		AND cityHash64(TraceId) % 100 = 0 LIMIT 1000`); err != nil {
		return nil, err
	}
	w.healthyOnes, err = b.store.Strings(ctx, `SELECT DISTINCT TraceId FROM whosehop.otel_traces WHERE ServiceName = 'storefront' AND ParentSpanId = '' AND cityHash64(TraceId) % 100 = 0
		AND TraceId NOT IN (SELECT TraceId FROM whosehop.verdicts) LIMIT 5000`)
	if len(w.failingTraces) == 0 || len(w.healthyOnes) == 0 || len(w.storefronts) == 0 || len(w.orders) == 0 {
		err = errors.Join(err, errors.New("there is nothing to ask about"))
	}
	return w, err
}

// client asks a server.
type client struct {
	http     http.Client
	base     string
	grpc     *grpc.ClientConn
	nextPage []string // by question
}

func newClient(roles *roles, questions int) (*client, error) {
	conn, err := grpc.NewClient(roles.grpc, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))
	if err != nil {
		return nil, err
	}
	return &client{base: "http://" + roles.http, grpc: conn, nextPage: make([]string, questions)}, nil
}

// ask asks a question, and says how long it took until the whole answer was there.
func (c *client) ask(ctx context.Context, number int, q *question, w *asked) (took time.Duration, err error) {
	if q.call != nil {
		method, request := q.call(w)
		into, err := newAnswer(method)
		if err != nil {
			return 0, err
		}
		began := time.Now()
		err = c.grpc.Invoke(ctx, "/whosehop.v1.Whosehop/"+method, request, into)
		return time.Since(began), err
	}
	address := q.url(w)
	if next := c.nextPage[number]; next != "" {
		address = next
	}
	method, sent := http.MethodGet, ""
	if q.body != nil {
		method, sent = http.MethodPost, q.body(w)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.base+address, strings.NewReader(sent))
	if err != nil {
		return 0, err
	}
	if sent != "" {
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Accept", "application/json, text/event-stream") // as an MCP client must
	}
	began := time.Now()
	answer, err := c.http.Do(request)
	if err != nil {
		return 0, err
	}
	body, err := io.ReadAll(answer.Body)
	took = time.Since(began)
	_ = answer.Body.Close()
	if err == nil && answer.StatusCode/100 != 2 {
		err = fmt.Errorf("%s: %s: %.300s", address, answer.Status, body)
	}
	if err == nil && bytes.Contains(body, []byte(`"isError":true`)) {
		err = fmt.Errorf("%s: %.300s", sent, body)
	}
	if err == nil && q.paged {
		c.nextPage[number], err = nextPage(address, body)
	}
	return took, err
}

func nextPage(address string, body []byte) (string, error) {
	var page struct {
		NextPageToken string `json:"nextPageToken"`
	}
	if err := json.Unmarshal(body, &page); err != nil || page.NextPageToken == "" {
		return "", err
	}
	address, _, _ = strings.Cut(address, "&pageToken=")
	return address + "&pageToken=" + page.NextPageToken, nil
}

// newAnswer is an empty answer of a method.
func newAnswer(method string) (any, error) {
	answers := map[string]any{
		"GetVerdict": new(whosehopv1.GetVerdictResponse), "ListVerdicts": new(whosehopv1.ListVerdictsResponse), "GetAttribution": new(whosehopv1.GetAttributionResponse),
		"GetNow": new(whosehopv1.GetNowResponse), "GetWhyNot": new(whosehopv1.GetWhyNotResponse), "ListReviews": new(whosehopv1.ListReviewsResponse), "GetReviewSummary": new(whosehopv1.GetReviewSummaryResponse),
		"GetReport": new(whosehopv1.GetReportResponse), "GetMap": new(whosehopv1.GetMapResponse), "GetEdge": new(whosehopv1.GetEdgeResponse),
		"GetTop": new(whosehopv1.GetTopResponse), "GetRank": new(whosehopv1.GetRankResponse), "ListOwners": new(whosehopv1.ListOwnersResponse),
		"ListHandovers": new(whosehopv1.ListHandoversResponse), "ResolveOwner": new(whosehopv1.ResolveOwnerResponse), "GetCoverage": new(whosehopv1.GetCoverageResponse),
	}
	if into, ok := answers[method]; ok {
		return into, nil
	}
	return nil, fmt.Errorf("the answer of %s is not known", method)
}

// complete fails if a path of the OpenAPI document, or a method of the gRPC service, is not among the questions.
func (c *client) complete(ctx context.Context, list []question) error {
	has := func(path string) bool {
		return slices.ContainsFunc(list, func(q question) bool { return q.path == path })
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/api/v1/openapi.json", nil)
	if err != nil {
		return err
	}
	answer, err := c.http.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	var document struct {
		Paths map[string]map[string]any `json:"paths"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&document); err != nil {
		return fmt.Errorf("read the OpenAPI document: %w", err)
	}
	if len(document.Paths) == 0 {
		return errors.New("the OpenAPI document has no paths")
	}
	var missing []string
	for path, methods := range document.Paths {
		if methods["get"] != nil && !has(path) {
			missing = append(missing, "GET "+path)
		}
	}
	methods := whosehopv1.File_whosehop_v1_whosehop_proto.Services().ByName("Whosehop").Methods()
	for i := range methods.Len() {
		name := string(methods.Get(i).Name())
		if !has("whosehop.v1.Whosehop/"+name) && !slices.Contains(unmeasured, name) {
			missing = append(missing, name+" by gRPC")
		}
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		return fmt.Errorf("not measured: %s; add to questions()", strings.Join(missing, ", "))
	}
	return nil
}

// times are how long the calls of a question took in each round.
type times struct {
	question *question
	rounds   [][]time.Duration
	failed   error // the first
}

// warmUps are asked before anything counts.
const warmUps = 3

// measure asks everything, in any order, one after the other.
func (c *client) measure(ctx context.Context, list []question, w *asked, rounds, calls int) ([]times, error) {
	all := make([]times, len(list))
	for i := range list {
		all[i].question = &list[i]
		for range warmUps {
			if _, err := c.ask(ctx, i, &list[i], w); err != nil {
				all[i].failed = err
				break
			}
		}
	}
	for round := range rounds {
		var order []int
		for i := range list {
			all[i].rounds = append(all[i].rounds, nil)
			for range calls {
				order = append(order, i)
			}
		}
		w.random.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for n, i := range order {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			t := &all[i]
			if t.failed != nil {
				continue
			}
			took, err := c.ask(ctx, i, t.question, w)
			if err != nil {
				t.failed = err
				continue
			}
			t.rounds[round] = append(t.rounds[round], took)
			if n%100 == 0 {
				fmt.Fprintf(os.Stderr, "\rround %d of %d: %d of %d calls", round+1, rounds, n, len(order))
			}
		}
		fmt.Fprintln(os.Stderr)
	}
	return all, nil
}
