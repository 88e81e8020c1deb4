package collector

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/whosehop/whosehop/otlp"
	"github.com/whosehop/whosehop/storage/spans"
)

const (
	typeProto = "application/x-protobuf"
	typeJSON  = "application/json"
)

func (c *Collector) newHTTP() *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/traces", c.serveTraces)
	return &http.Server{
		Handler: mux, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, WriteTimeout: 2 * time.Minute,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(c.log.Handler(), slog.LevelDebug),
	}
}

// refusal is an answer to a request that is not even looked into.
type refusal struct {
	code    codes.Code
	status  int
	message string
}

func (e *refusal) Error() string { return e.message }

func (c *Collector) serveTraces(w http.ResponseWriter, r *http.Request) {
	contentType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	rejected, err := c.receive(w, r, contentType)
	c.count("http", rejected, err)
	if err != nil {
		refuse(w, contentType, err)
		return
	}
	response := exportResponse(rejected)
	var body []byte
	if contentType == typeJSON {
		body, err = response.MarshalJSON()
	} else {
		body, err = response.MarshalProto()
	}
	if err != nil {
		refuse(w, contentType, fmt.Errorf("encode the answer: %w", err))
		return
	}
	w.Header().Set("Content-Type", contentType)
	_, _ = w.Write(body) // the spans are stored, whether the sender still listens or not
}

func (c *Collector) receive(w http.ResponseWriter, r *http.Request, contentType string) (otlp.Rejected, error) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return otlp.Rejected{}, &refusal{codes.Unimplemented, http.StatusMethodNotAllowed, "send spans with POST"}
	}
	if c.cfg.Token != "" && !tokenFits(r.Header.Get("Authorization"), c.cfg.Token) {
		w.Header().Set("WWW-Authenticate", "Bearer")
		return otlp.Rejected{}, &refusal{codes.Unauthenticated, http.StatusUnauthorized, "send the collector's token as `Authorization: Bearer TOKEN`"}
	}
	if contentType != typeProto && contentType != typeJSON {
		return otlp.Rejected{}, &refusal{codes.InvalidArgument, http.StatusUnsupportedMediaType, "send " + typeProto + " or " + typeJSON}
	}
	if err := c.committer.admit(); err != nil {
		return otlp.Rejected{}, err
	}
	body, release, err := c.readBody(w, r)
	if err != nil {
		return otlp.Rejected{}, err
	}
	var early otlp.Rejected
	if contentType == typeJSON {
		if body, early, err = c.fromJSON(r.Context(), body); err != nil {
			release()
			return otlp.Rejected{}, err
		}
	}
	rejected, err := c.committer.store(r.Context(), func(b *spans.Block) (otlp.Rejected, error) {
		defer release()
		return decodeProto(body, b)
	})
	rejected.Add(early)
	return rejected, err
}

// jsonMax bounds the JSON requests that are read at once: each takes many times its own size.
const jsonMax = 2

func (c *Collector) fromJSON(ctx context.Context, body []byte) ([]byte, otlp.Rejected, error) {
	select {
	case c.jsonTurns <- struct{}{}:
	case <-ctx.Done():
		return nil, otlp.Rejected{}, ctx.Err()
	}
	defer func() { <-c.jsonTurns }()
	wire, rejected, err := otlp.FromJSON(body)
	if err != nil {
		return nil, otlp.Rejected{}, badRequest{err}
	}
	return wire, rejected, nil
}

// readBody unpacks as it reads, so that a bomb is noticed when it has grown too large and not later.
// The body is in the budget until it is released.
func (c *Collector) readBody(w http.ResponseWriter, r *http.Request) (body []byte, release func(), err error) {
	most := int64(c.cfg.RequestBytesMax)
	tooLarge := &refusal{codes.ResourceExhausted, http.StatusRequestEntityTooLarge, fmt.Sprintf("the request has more than %d bytes (collector.request-bytes-max)", most)}
	if r.ContentLength > most {
		return nil, nil, tooLarge
	}
	var from io.Reader = http.MaxBytesReader(w, r.Body, most)
	switch encoding := strings.ToLower(r.Header.Get("Content-Encoding")); encoding {
	case "", "identity":
	case "gzip":
		if from, err = gzip.NewReader(from); err != nil {
			return nil, nil, badRequest{fmt.Errorf("unpack the request: %w", err)}
		}
	case "zstd":
		if from, err = zstdReader(from); err != nil {
			return nil, nil, err
		}
	default:
		return nil, nil, &refusal{codes.InvalidArgument, http.StatusUnsupportedMediaType, fmt.Sprintf("content encoding %q is not known; send gzip, zstd or none", encoding)}
	}
	metered := &meteredReader{from: io.LimitReader(from, most+1), budget: c.budget}
	body, err = io.ReadAll(metered)
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over), int64(len(body)) > most:
		err = tooLarge
	case err != nil && !errors.Is(err, errOverloaded):
		err = badRequest{fmt.Errorf("read the request: %w", err)}
	}
	if err != nil {
		c.budget.give(metered.taken)
		return nil, nil, err
	}
	return body, func() { c.budget.give(metered.taken) }, nil
}

// refuse is the one place that maps errors to HTTP: 429 and 503 may be sent again, all else may not.
// The body is a google.rpc.Status with what gRPC would have said, in the encoding of the request.
func refuse(w http.ResponseWriter, contentType string, err error) {
	said := status.Convert(grpcStatus(err))
	body := &statuspb.Status{Code: int32(said.Code()), Message: said.Message()}
	var code int
	var known *refusal
	switch {
	case errors.As(err, &known):
		code = known.status
	case errors.Is(err, errOverloaded):
		code = http.StatusTooManyRequests
	case errors.Is(err, errUnavailable):
		code = http.StatusServiceUnavailable
	case isBadRequest(err):
		code = http.StatusBadRequest
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		code, body.Message = http.StatusServiceUnavailable, "the request was given up before it was stored"
	default:
		code = http.StatusInternalServerError
	}
	if code == http.StatusTooManyRequests || code == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", strconv.Itoa(int(retryAfter.Seconds())))
	}
	var encoded []byte
	if contentType == typeJSON {
		encoded, _ = protojson.Marshal(body)
	} else {
		contentType = typeProto
		encoded, _ = proto.Marshal(body)
	}
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(code)
	_, _ = w.Write(encoded)
}
