// Package query answers what people and dashboards ask, free of any transport: gRPC, REST, web pages
// and the command line are thin adapters over Service.
package query

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/whosehop/whosehop/ownership"
	"github.com/whosehop/whosehop/ownership/catalog"
	"github.com/whosehop/whosehop/storage"
	"github.com/whosehop/whosehop/storage/spans"
	"github.com/whosehop/whosehop/verdict"
)

// The errors that a transport tells apart. ErrInvalid wraps what is wrong with a question.
var (
	ErrNotFound = errors.New("no span of this trace is stored")
	ErrInvalid  = errors.New("invalid question")
	// ErrMissing is of a trace that may lie on a shard that does not answer.
	ErrMissing = errors.New("no span of this trace lies on the shards that answer")
)

// Reader is what the service needs of the storage.
type Reader interface {
	TraceVerdicts(ctx context.Context, id spans.TraceID) (bodies []string, of storage.SettledTrace, found bool, err error)
	StoredTrace(ctx context.Context, id spans.TraceID) (storage.SettledTrace, error)
	NewestSpan(ctx context.Context, id spans.TraceID) (time.Time, error)
	ReadTraces(ctx context.Context, q storage.TraceQuery, b *spans.Block) error
	ListVerdicts(ctx context.Context, f storage.VerdictFilter) ([]storage.VerdictRow, error)
	// Align is the window that blame is summed up over.
	Align(from, to time.Time) (time.Time, time.Time)
	Blame(ctx context.Context, f storage.BlameFilter, by []string, step time.Duration, limit int) ([]storage.BlameRow, error)
	Spells(ctx context.Context, f storage.BlameFilter, sites []storage.Site) (map[storage.Site][]storage.Spell, error)
	SeenServices(ctx context.Context, from, to time.Time, attributes []string) ([]storage.SeenService, error)
	Calls(ctx context.Context, from time.Time) ([]storage.Call, error)
	Operations(ctx context.Context, w storage.TrafficWindow) ([]storage.Operation, error)
	Edges(ctx context.Context, w storage.TrafficWindow) ([]storage.Edge, error)
	Versions(ctx context.Context, w storage.TrafficWindow, services ...string) ([]storage.SeenVersion, error)
	Reviews
	Ping(ctx context.Context) error
	// Missing names the shards that do not answer.
	Missing(ctx context.Context) []string
}

// Judge judges on the spot: a trace, no verdicts where no span of it is stored; or all traces that came
// in at an entry over a time, against as long a time before.
type Judge interface {
	JudgeNow(ctx context.Context, of storage.SettledTrace) ([]verdict.Verdict, error)
	// ExplainNow says as well which rules were tried on the spans of a service, and on calls to it.
	ExplainNow(ctx context.Context, of storage.SettledTrace, service string) ([]verdict.Verdict, error)
	// TimelineNow lays a trace out, with the exceptions of spans that verdicts blame; nil where no span of it is stored. Without
	// verdicts it judges, too.
	TimelineNow(ctx context.Context, of storage.SettledTrace, verdicts []verdict.Verdict) (*verdict.Timeline, []verdict.Verdict, error)
	RankNow(ctx context.Context, from, to time.Time, entry string, limit int) ([]verdict.Suspect, error)
}

// Service answers questions. It is safe for concurrent use.
type Service struct {
	// Links are set before the service is used.
	Links Links

	reader    Reader
	judge     Judge
	owners    *ownership.Current
	stored    Owners
	applying  chan struct{}
	seen      keptTraffic
	timelines keptTimelines
	turns     *turns
}

// New makes a service. Owners are those in force, stored is what they are applied to.
func New(reader Reader, judge Judge, owners *ownership.Current, stored Owners) *Service {
	return &Service{
		reader: reader, judge: judge, owners: owners, stored: stored, applying: make(chan struct{}, 1),
		seen: keptTraffic{turn: make(chan struct{}, 1)}, turns: newTurns(questionsDefault),
	}
}

// ResolveOwner says who owns something, by the registry in force. With why it tells which rules were tried.
func (s *Service) ResolveOwner(_ context.Context, i ownership.Inquiry, why bool) (*ownership.Resolution, error) {
	texts := append(pairs("attribute", i.Attributes), text{"service", i.Service}, text{"namespace", i.Namespace}, text{"environment", i.Environment}, text{"operation", i.Operation},
		text{"peer", i.Peer}, text{"edge", i.Edge}, text{"codePath", i.CodePath})
	if err := bounded(texts...); err != nil {
		return nil, err
	}
	answer, err := s.owners.Registry().Inquire(i)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if !why {
		answer.Trail = nil
	}
	return answer, nil
}

// Team is what the registry knows of an owner now; nil is nothing.
func (s *Service) Team(name string) *catalog.Record { return s.owners.Registry().Team(name, 0) }

// Ready says whether questions can be answered.
func (s *Service) Ready(ctx context.Context) error { return s.reader.Ping(ctx) }

// ParseTraceID reads 32 hexadecimal digits; spaces and dashes, as ids are often pasted with, do not count.
func ParseTraceID(text string) (spans.TraceID, error) {
	var id spans.TraceID
	digits := strings.NewReplacer("-", "", " ", "").Replace(strings.TrimSpace(text))
	n, err := hex.Decode(id[:], []byte(digits[:min(len(digits), 32)]))
	if err != nil || n != len(id) || len(digits) != 32 || id == (spans.TraceID{}) {
		return spans.TraceID{}, Wrong("traceId", "trace id %q is not 32 hexadecimal digits", text)
	}
	return id, nil
}

// ParseInstant reads RFC 3339, a date, which is midnight UTC, or Unix nanoseconds. A number before 2000 was meant as something
// else: seconds, or a date without its dashes.
func ParseInstant(text string) (int64, error) {
	const from2000 = 946_684_800 * int64(time.Second)
	if ns, err := strconv.ParseInt(text, 10, 64); err == nil {
		if ns < from2000 {
			return 0, fmt.Errorf("%q as Unix nanoseconds is before 2000: write RFC 3339, a date such as 2026-01-31, or all digits of the nanoseconds", text)
		}
		return ns, nil
	}
	at, err := time.Parse(time.DateOnly, text)
	if err != nil {
		at, err = time.Parse(time.RFC3339Nano, text)
	}
	if err != nil {
		return 0, fmt.Errorf("%q is neither RFC 3339 nor Unix nanoseconds, nor a date such as 2026-01-31", text)
	}
	if earliest, latest := time.Unix(0, math.MinInt64), time.Unix(0, math.MaxInt64); at.Before(earliest) || at.After(latest) {
		return 0, fmt.Errorf("%q is not between %d and %d", text, earliest.Year()+1, latest.Year()-1)
	}
	return at.UnixNano(), nil
}

// Verdicts returns the verdicts of a trace, one for each entry: the stored ones, if it has settled
// and nothing came after; else judged now, and marked provisional.
func (s *Service) Verdicts(ctx context.Context, traceID string) ([]verdict.Verdict, error) {
	ctx, done, err := s.begin(ctx, text{"traceId", traceID})
	if err != nil {
		return nil, err
	}
	defer done()
	before, err := s.judgedBefore(ctx, traceID)
	if err != nil || len(before.verdicts) > 0 {
		return before.verdicts, err
	}
	judged, err := s.judge.JudgeNow(ctx, before.of)
	if err != nil {
		return nil, err
	}
	return judged, s.mark(ctx, judged, &before)
}

// judgedBefore is what is stored of a trace's judgement.
type judgedBefore struct {
	of      storage.SettledTrace // Version is 0 where it was not judged
	settled bool                 // nothing came after
	// verdicts are those of its entries, if it has settled and one has a symptom.
	verdicts []verdict.Verdict
}

func (s *Service) judgedBefore(ctx context.Context, traceID string) (t judgedBefore, err error) {
	id, err := ParseTraceID(traceID)
	if err != nil {
		return t, err
	}
	var bodies []string
	var newest time.Time
	found := false
	group, asking := errgroup.WithContext(ctx)
	group.Go(func() (err error) { bodies, t.of, found, err = s.reader.TraceVerdicts(asking, id); return err })
	group.Go(func() (err error) { newest, err = s.reader.NewestSpan(asking, id); return err })
	if err := group.Wait(); err != nil {
		return t, err
	}
	t.of.TraceID = id
	if t.settled = found && !newest.After(t.of.LastIngest); t.settled {
		t.verdicts, err = parseBodies(bodies)
	}
	return t, err
}

// mark says of verdicts that were judged now whether they may change. Without one there is no such trace.
func (s *Service) mark(ctx context.Context, judged []verdict.Verdict, before *judgedBefore) error {
	if len(judged) == 0 {
		if missing := s.reader.Missing(ctx); len(missing) > 0 {
			return fmt.Errorf("trace %x: %w; missing: %s", before.of.TraceID[:], ErrMissing, strings.Join(missing, ", "))
		}
		return fmt.Errorf("trace %x: %w", before.of.TraceID[:], ErrNotFound)
	}
	for i := range judged {
		judged[i].Provisional = !before.settled
		if before.of.Version > 0 {
			judged[i].Version = before.of.Version
		}
	}
	return nil
}

func parseBodies(bodies []string) ([]verdict.Verdict, error) {
	verdicts := make([]verdict.Verdict, len(bodies))
	for i, body := range bodies {
		if err := json.Unmarshal([]byte(body), &verdicts[i]); err != nil {
			return nil, fmt.Errorf("read a stored verdict: %w", err)
		}
	}
	return verdicts, nil
}

// The limits of a listing.
const (
	pageSizeDefault = 50
	pageSizeMax     = 500
	topDefault      = 20
	rankDefault     = 10
	windowDefault   = time.Hour
	windowMax       = 400 * 24 * time.Hour
	stepsWanted     = 60
	stepsMax        = 1500
)

// ListRequest asks for verdicts; what is empty selects all, or the default.
type ListRequest struct {
	// VerdictFilter without its place and limit, which are set from here.
	storage.VerdictFilter
	PageSize  int
	PageToken string
}

// ListResponse is a page of verdicts; NextPageToken is empty on the last. Missing, here and in the other answers, are the
// shards that did not answer: what lies there is not in it.
type ListResponse struct {
	Verdicts      []storage.VerdictRow
	NextPageToken string
	Missing       []string
}

// List lists verdicts with a symptom, newest entry first.
func (s *Service) List(ctx context.Context, r ListRequest) (*ListResponse, error) {
	ctx, done, err := s.begin(ctx, textsOf(&r)...)
	if err != nil {
		return nil, err
	}
	defer done()
	from, to, err := window(r.From, r.To)
	if err != nil {
		return nil, err
	}
	switch verdict.Symptom(r.Symptom) {
	case "", verdict.SymptomError, verdict.SymptomDegraded, verdict.SymptomLatency:
	default:
		return nil, Wrong("symptom", "symptom %q is none of error, degraded, latency", r.Symptom)
	}
	size, err := limit("pageSize", r.PageSize, pageSizeDefault)
	if err != nil {
		return nil, err
	}
	if err := checkFilter(&r.VerdictFilter); err != nil {
		return nil, err
	}
	f := r.VerdictFilter
	f.From, f.To, f.Limit = from, to, size+1
	if r.PageToken != "" {
		if f.Before, err = parseToken(r.PageToken); err != nil {
			return nil, err
		}
	}
	rows, err := s.reader.ListVerdicts(ctx, f)
	if err != nil {
		return nil, err
	}
	page := &ListResponse{Verdicts: rows, Missing: s.reader.Missing(ctx)}
	if len(rows) > size {
		page.Verdicts = rows[:size]
		page.NextPageToken = formatToken(rows[size-1].Key)
	}
	return page, nil
}

// attributesMost bounds the attributes that are asked for.
const attributesMost = 4

// textsOf are those of a listing.
func textsOf(r *ListRequest) []text {
	return append(pairs("attribute", r.Attributes), text{"owner", r.Owner}, text{"service", r.Service}, text{"operation", r.Operation}, text{"entry", r.Entry},
		text{"symptom", r.Symptom}, text{"rule", r.Rule}, text{"class", r.Class}, text{"errorType", r.ErrorType}, text{"fingerprint", r.Fingerprint},
		text{"version", r.Version}, text{"caller", r.Caller}, text{"callee", r.Callee}, text{"pageToken", r.PageToken})
}

func checkFilter(f *storage.VerdictFilter) error {
	if _, err := hex.DecodeString(f.Fingerprint); err != nil || f.Fingerprint != "" && len(f.Fingerprint) != 16 {
		return Wrong("fingerprint", "fingerprint %q is not 16 hexadecimal digits", f.Fingerprint)
	}
	if f.MinNs < 0 || f.MaxNs < 0 || f.MaxNs > 0 && f.MaxNs < f.MinNs {
		return Wrong("maxDuration", "no duration is within %s and %s", time.Duration(f.MinNs), time.Duration(f.MaxNs))
	}
	if len(f.Attributes) > attributesMost {
		return Wrong("attribute", "%d attributes are more than %d", len(f.Attributes), attributesMost)
	}
	return nil
}

// window fills in and checks a span of time.
func window(from, to time.Time) (time.Time, time.Time, error) {
	if to.IsZero() {
		to = time.Now().Add(time.Minute) // senders' clocks differ
	}
	if from.IsZero() {
		from = to.Add(-windowDefault)
	}
	if !from.Before(to) || to.Sub(from) > windowMax {
		return from, to, Wrong("from", "from must lie before to, by no more than %d days", int(windowMax.Hours()/24))
	}
	return from.UTC(), to.UTC(), nil
}

func limit(name string, n, otherwise int) (int, error) {
	switch {
	case n == 0:
		return otherwise, nil
	case n < 0 || n > pageSizeMax:
		return 0, Wrong(name, "%s %d is not within 1 and %d", name, n, pageSizeMax)
	}
	return n, nil
}

// A page token is where the next page goes on.
func formatToken(k storage.VerdictKey) string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d/%s/%d", k.StartNs, k.TraceID, k.Number))
}

func parseToken(token string) (*storage.VerdictKey, error) {
	text, err := base64.RawURLEncoding.DecodeString(token)
	parts := strings.Split(string(text), "/")
	if err != nil || len(parts) != 3 {
		return nil, Wrong("pageToken", "pageToken %q is not one of ours", token)
	}
	ns, err := strconv.ParseInt(parts[0], 10, 64)
	if err != nil {
		return nil, Wrong("pageToken", "pageToken %q is not one of ours", token)
	}
	number, err := strconv.ParseUint(parts[2], 10, 32)
	if err != nil {
		return nil, Wrong("pageToken", "pageToken %q is not one of ours", token)
	}
	return &storage.VerdictKey{StartNs: ns, TraceID: parts[1], Number: uint32(number)}, nil
}

// niceStep rounds up to a step that people read off easily.
func niceStep(d time.Duration) time.Duration {
	for _, s := range [...]time.Duration{
		10 * time.Second, 30 * time.Second, time.Minute, 5 * time.Minute, 10 * time.Minute, 30 * time.Minute,
		time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour,
	} {
		if d <= s {
			return s
		}
	}
	return 7 * 24 * time.Hour
}

// RankRequest asks what is breaking requests.
type RankRequest struct {
	From, To time.Time
	Entry    string // only requests that came in here: an operation, or a service and an operation
	Limit    int
}

// rankMost is the longest window: a sample of its traces is read span by span, and as many of those before it.
const rankMost = 6 * time.Hour

// RankResponse has the likeliest suspect first.
type RankResponse struct {
	Suspects []verdict.Suspect
	Missing  []string
}

// Rank says what is breaking requests, and whose it is.
func (s *Service) Rank(ctx context.Context, r RankRequest) (*RankResponse, error) {
	ctx, done, err := s.begin(ctx, text{"entry", r.Entry})
	if err != nil {
		return nil, err
	}
	defer done()
	from, to, err := window(r.From, r.To)
	if err != nil {
		return nil, err
	}
	if to.Sub(from) > rankMost+2*time.Minute {
		return nil, Wrong("from", "ranking reads the traces of a window of %s at most; /api/v1/top ranks what verdicts say of longer ones", rankMost)
	}
	n, err := limit("limit", r.Limit, rankDefault)
	if err != nil {
		return nil, err
	}
	suspects, err := s.judge.RankNow(ctx, from, to, r.Entry, n)
	if err != nil {
		return nil, err
	}
	return &RankResponse{Suspects: suspects, Missing: s.reader.Missing(ctx)}, nil
}
