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

// httpError is an answer other than 200.
type httpError struct {
	status  int
	message string
}

func (e *httpError) Error() string { return e.message }

func (c *Collector) serveTraces(w http.ResponseWriter, r *http.Request) {
	contentType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	rejected, err := c.receive(w, r, contentType)
	if err != nil {
		c.refuse(w, contentType, err)
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
		c.refuse(w, contentType, fmt.Errorf("encode the answer: %w", err))
		return
	}
	w.Header().Set("Content-Type", contentType)
	_, _ = w.Write(body) // the spans are stored, whether the sender still listens or not
}

func (c *Collector) receive(w http.ResponseWriter, r *http.Request, contentType string) (otlp.Rejected, error) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return otlp.Rejected{}, &httpError{http.StatusMethodNotAllowed, "send spans with POST"}
	}
	if c.cfg.Token != "" && !tokenFits(r.Header.Get("Authorization"), c.cfg.Token) {
		w.Header().Set("WWW-Authenticate", "Bearer")
		return otlp.Rejected{}, &httpError{http.StatusUnauthorized, "send the collector's token as `Authorization: Bearer TOKEN`"}
	}
	var decode func([]byte, *spans.Block) (otlp.Rejected, error)
	switch contentType {
	case typeProto:
		decode = decodeProto
	case typeJSON:
		decode = decodeJSON
	default:
		return otlp.Rejected{}, &httpError{http.StatusUnsupportedMediaType, "send " + typeProto + " or " + typeJSON}
	}
	body, err := c.readBody(w, r)
	if err != nil {
		return otlp.Rejected{}, err
	}
	return c.export(r.Context(), "http", body, decode)
}

// readBody unpacks as it reads, so that a bomb is noticed when it has grown too large and not later.
func (c *Collector) readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	most := int64(c.cfg.RequestBytesMax)
	tooLarge := &httpError{http.StatusRequestEntityTooLarge, fmt.Sprintf("the request has more than %d bytes (collector.request-bytes-max)", most)}
	if r.ContentLength > most {
		return nil, tooLarge
	}
	var from io.Reader = http.MaxBytesReader(w, r.Body, most)
	switch encoding := r.Header.Get("Content-Encoding"); encoding {
	case "", "identity":
	case "gzip":
		unpacked, err := gzip.NewReader(from)
		if err != nil {
			return nil, badRequest{fmt.Errorf("unpack the request: %w", err)}
		}
		from = unpacked
	default:
		return nil, &httpError{http.StatusUnsupportedMediaType, fmt.Sprintf("content encoding %q is not known; send gzip or none", encoding)}
	}
	body, err := io.ReadAll(io.LimitReader(from, most+1))
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over), int64(len(body)) > most:
		return nil, tooLarge
	case err != nil:
		return nil, badRequest{fmt.Errorf("read the request: %w", err)}
	}
	return body, nil
}

// refuse is the one place that maps errors to HTTP: 429 and 503 may be sent again, all else may not.
func (c *Collector) refuse(w http.ResponseWriter, contentType string, err error) {
	code := http.StatusInternalServerError
	message := "the storage refused the spans; the collector's log says why"
	var known *httpError
	switch {
	case errors.As(err, &known):
		code, message = known.status, known.message
	case errors.Is(err, errOverloaded):
		code, message = http.StatusTooManyRequests, err.Error()
	case errors.Is(err, errUnavailable):
		code, message = http.StatusServiceUnavailable, err.Error()
	case isBadRequest(err):
		code, message = http.StatusBadRequest, err.Error()
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		code, message = http.StatusServiceUnavailable, "the request was given up before it was stored"
	}
	if code == http.StatusTooManyRequests || code == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", strconv.Itoa(int(retryAfter.Seconds())))
	}
	body := &statuspb.Status{Code: int32(status.Code(grpcStatus(err))), Message: message}
	if body.Code == int32(codes.OK) {
		body.Code = int32(codes.Unknown)
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
