package trace

import (
	"strings"
	"unsafe"

	"github.com/whosehop/whosehop/storage/spans"
	"github.com/whosehop/whosehop/verdict"
)

// Level is how bad an outcome is.
type Level uint8

// The levels.
const (
	OK   Level = iota
	Soft       // refused for a reason that may be the caller's: a 4xx and its like, a cancellation
	Fail
)

// Class is the kind of a failure.
type Class = verdict.Class

// Outcome is how a span ended, read from its codes first and from its status after that: the
// conventions set the status by kind, so a 404 is an error on the client and none on the server.
type Outcome struct {
	Level Level
	Class Class
	// Answered: a status code of the callee's own is there, so the call reached somebody.
	Answered bool
}

// Failed says whether the outcome is anything but OK.
func (o Outcome) Failed() bool { return o.Level != OK }

// The gRPC status codes by number.
const (
	grpcOK = iota
	grpcCancelled
	grpcUnknown
	grpcInvalidArgument
	grpcDeadlineExceeded
	grpcNotFound
	grpcAlreadyExists
	grpcPermissionDenied
	grpcResourceExhausted
	grpcFailedPrecondition
	grpcAborted
	grpcOutOfRange
	grpcUnimplemented
	grpcInternal
	grpcUnavailable
	grpcDataLoss
	grpcUnauthenticated
)

var grpcNames = [...]string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
	"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE",
	"UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}

// GRPCName is the word for a gRPC status code.
func GRPCName(code int) string {
	if code < 0 || code >= len(grpcNames) {
		return ""
	}
	return grpcNames[code]
}

// grpcCode reads a code by number or by word, in capitals or as Connect writes it; -1 for neither.
func grpcCode(word string) int {
	if n := number(word, -1); n >= 0 && n < len(grpcNames) {
		return n
	}
	for code, name := range grpcNames {
		if strings.EqualFold(name, word) {
			return code
		}
	}
	if strings.EqualFold(word, "canceled") {
		return grpcCancelled
	}
	return -1
}

func (c *classes) outcome(f *Facts, status spans.Status, kind spans.Kind) Outcome {
	switch {
	case f.HTTPStatus >= 100:
		if o := c.httpOutcome(f); o.Level != OK || status != spans.StatusError {
			return o
		}
		// A good answer, and an error all the same: the work around it failed.
		return Outcome{Level: Fail, Class: orClass(c.of(f), "APP")}
	case f.GRPCCode >= 0:
		if o := c.grpcOutcome(f, kind); o.Level != OK || status != spans.StatusError {
			return o
		}
		return Outcome{Level: Fail, Class: orClass(c.of(f), "APP")}
	case status != spans.StatusError:
		if envoyRefused(f.EnvoyFlags) {
			return Outcome{Level: Fail, Class: c.of(f)}
		}
		return Outcome{}
	}
	if f.DBCode != "" || sqlState(f) != "" {
		return Outcome{Level: Fail, Class: SQLClass(SQLState(f)), Answered: true}
	}
	class := c.of(f)
	if code := number(f.ErrorType, 0); class == "" && code >= 400 && code < 600 {
		g := *f
		g.HTTPStatus = code
		return c.httpOutcome(&g)
	}
	if code := grpcCode(f.ErrorType); class == "" && f.RPCSystem != "" && code > 0 {
		g := *f
		g.GRPCCode = code
		return c.grpcOutcome(&g, kind)
	}
	if class == "CANCELLED" {
		return Outcome{Level: Soft, Class: class}
	}
	return Outcome{Level: Fail, Class: orClass(class, "APP")}
}

// CalledOff: the caller ended the call on purpose, before there was an answer. The conventions leave
// the status of such a span unset: it is no failure, and it is no success to learn from either.
func (n *Node) CalledOff() bool {
	if n.Kind != spans.KindClient || n.Outcome.Answered || n.Facts.ErrorType == "" && !n.Facts.HasException() {
		return false
	}
	return (*classes)(nil).of(&n.Facts) == "CANCELLED"
}

func orClass(c, otherwise Class) Class {
	if c == "" {
		return otherwise
	}
	return c
}

func (c *classes) httpOutcome(f *Facts) Outcome {
	o := Outcome{Answered: true}
	code := f.HTTPStatus
	switch {
	case code < 400:
		o.Level = OK
	case code == 401, code == 403, code == 407, code == 511:
		o.Level, o.Class = Soft, "AUTH"
	case code == 404, code == 410:
		o.Level, o.Class = Soft, "NOT_FOUND"
	case code == 405, code == 501:
		o.Level, o.Class = Soft, "UNIMPLEMENTED"
	case code == 408, code == 504, code == 524:
		o.Level, o.Class = Fail, "TIMEOUT"
	case code == 409, code == 412, code == 423:
		o.Level, o.Class = Soft, "CONFLICT"
	case code == 429:
		o.Level, o.Class = Fail, "OVERLOAD"
	case code == 499:
		o.Level, o.Class = Soft, "CANCELLED"
	case code < 500:
		o.Level, o.Class = Soft, "BAD_REQUEST"
	case code == 502:
		o.Level, o.Class = Fail, "BAD_GATEWAY"
	case code == 503:
		o.Level, o.Class = Fail, "UNAVAILABLE"
	default:
		o.Level, o.Class = Fail, "INTERNAL"
	}
	if code == 501 {
		o.Level = Fail
	}
	if envoyRefused(f.EnvoyFlags) {
		o.Class, o.Answered = c.of(f), false
	}
	return o
}

func (c *classes) grpcOutcome(f *Facts, kind spans.Kind) Outcome {
	switch f.GRPCCode {
	case grpcOK:
		return Outcome{Answered: true}
	case grpcCancelled:
		return Outcome{Level: Soft, Class: "CANCELLED"}
	case grpcInvalidArgument, grpcFailedPrecondition, grpcOutOfRange:
		return Outcome{Level: Soft, Class: "BAD_REQUEST", Answered: true}
	case grpcNotFound:
		return Outcome{Level: Soft, Class: "NOT_FOUND", Answered: true}
	case grpcAlreadyExists, grpcAborted:
		return Outcome{Level: Soft, Class: "CONFLICT", Answered: true}
	case grpcPermissionDenied, grpcUnauthenticated:
		return Outcome{Level: Soft, Class: "AUTH", Answered: true}
	case grpcDeadlineExceeded:
		return Outcome{Level: Fail, Class: "TIMEOUT"}
	case grpcResourceExhausted:
		return Outcome{Level: Fail, Class: "OVERLOAD", Answered: true}
	case grpcUnimplemented:
		return Outcome{Level: Fail, Class: "UNIMPLEMENTED", Answered: true}
	case grpcDataLoss:
		return Outcome{Level: Fail, Class: "INTERNAL", Answered: true}
	case grpcUnavailable:
		// Made by the library when it gets no connection, and by servers that shed load.
		class := c.of(f)
		switch class {
		case "REFUSED", "RESET", "DNS", "TLS", "BREAKER":
			return Outcome{Level: Fail, Class: class}
		}
		return Outcome{Level: Fail, Class: "UNAVAILABLE", Answered: kind == spans.KindServer}
	default: // UNKNOWN, INTERNAL: made by the callee's code, and by the library for protocol errors
		class := c.of(f)
		switch class {
		case "RESET", "DECODE", "TLS":
			return Outcome{Level: Fail, Class: class}
		}
		return Outcome{Level: Fail, Class: "INTERNAL", Answered: true}
	}
}

// envoyRefused: the flags say that the proxy itself ended the request.
func envoyRefused(flags string) bool {
	for flag := range strings.SplitSeq(flags, ",") {
		switch flag {
		case "UO", "UF", "UH", "UC", "UT", "URX", "NR":
			return true
		}
	}
	return false
}

// words that give a class away, in the order in which they are looked for: the more telling first.
// They are the spellings of the Go, Java, Node.js, Python and .NET runtimes, gRPC and Envoy.
var words = []struct {
	class Class
	any   []string
}{
	{"BREAKER", []string{
		"circuit breaker", "circuitbreaker", "circuit_breaker", "callnotpermitted", "brokencircuit", "circuit open",
		"opencircuit", "circuit is open", "breaker is open", "breakeropen", "hystrix circuit", "errorsopenstate", "upstream_reset_before_response_started{overflow}",
	}},
	{"DNS", []string{
		"unknownhost", "enotfound", "no such host", "name or service not known", "eai_again", "nxdomain",
		"getaddrinfo", "name resolution", "gaierror", "could not resolve host", "nodename nor servname", "temporary failure in name", "dns error", "dns lookup", "nameresolutionerror",
	}},
	{"TLS", []string{
		"x509", "certificate", "ssl handshake", "sslhandshake", "tls handshake", "tls: ", "cert_has_expired",
		"sslpeerunverified", "err_tls", "sslerror", "unable_to_verify", "self_signed", "ssl routines", "authenticationexception: the remote certificate",
	}},
	{"REFUSED", []string{
		"econnrefused", "connection refused", "connectionrefused", "connectexception", "actively refused",
		"no connection could be made", "failed to connect", "no healthy upstream", "ehostunreach", "enetunreach", "no route to host", "host unreachable",
	}},
	{"RESET", []string{
		"econnreset", "connection reset", "connectionreset", "socket hang up", "broken pipe", "epipe",
		"unexpected eof", "premature", "connection closed", "connection aborted", "econnaborted",
		"remote end closed", "stream reset", "rst_stream", "server disconnected", "remotedisconnected", "nohttpresponse", "socketexception", "closedchannel", "upstream connect error", "transport is closing", "goaway", "error reading from server: eof", "incompleteread",
	}},
	{"TIMEOUT", []string{
		"timeout", "timed out", "time-out", "deadline exceeded", "deadline_exceeded", "deadlineexceeded",
		"etimedout", "timedout", "econnaborted: timeout", "headers_timeout", "body_timeout", "taskcanceledexception: the request was canceled due to the configured httpclient.timeout",
	}},
	{"CANCELLED", []string{
		"context canceled", "context cancelled", "contextcanceled", "canceled", "cancelled", "cancellederror", "aborterror",
		"operationcanceled", "request aborted", "client disconnected", "client closed request", "cancellationexception", "err_canceled",
	}},
	{"OVERLOAD", []string{
		"too many requests", "resource exhausted", "resource_exhausted", "rate limit", "ratelimit", "throttl", "quota exceeded", "bulkhead", "requestnotpermitted",
	}},
	{"DECODE", []string{
		"jsonparse", "jsonmapping", "mismatchedinput", "unrecognizedproperty", "jsondecode", "json.decoder", "unmarshal", "deserializ",
		"syntaxerror: unexpected", "unexpected token", "unexpected character", "invalid character", "invalid json", "malformed",
		"decodeerror", "decodeexception", "decoding", "invalidprotocolbuffer", "protobuf", "cannot parse", "could not parse", "failed to parse", "parseexception", "parse error",
		"zoderror", "validationerror", "schema", "xmlstreamexception", "jsonexception", "jsonreaderexception",
	}},
	{"AUTH", []string{"unauthorized", "unauthenticated", "permission denied", "permission_denied", "forbidden", "access denied", "accessdenied", "invalid token", "token expired"}},
}

// classes remembers the classes of some texts of a block, by where they lie: what many spans say lies there once.
type classes [64]struct {
	text  string
	class Class
}

// read is TextClass; without a memory as well.
func (c *classes) read(text string) Class {
	if c == nil {
		return TextClass(text)
	}
	at := unsafe.StringData(text)
	known := &c[uintptr(unsafe.Pointer(at))/8%uintptr(len(c))]
	if unsafe.StringData(known.text) != at || len(known.text) != len(text) {
		known.text, known.class = text, TextClass(text)
	}
	return known.class
}

// of reads the class from what the error calls itself; empty where the words say nothing.
func (c *classes) of(f *Facts) Class {
	if f.EnvoyFlags != "" {
		for flag := range strings.SplitSeq(f.EnvoyFlags, ",") {
			switch flag {
			case "UO":
				return "BREAKER"
			case "UF", "UH":
				return "REFUSED"
			case "UC", "URX":
				return "RESET"
			case "UT":
				return "TIMEOUT"
			case "NR":
				return "NOT_FOUND"
			}
		}
	}
	// What the span says of itself comes before the text of an exception, which may quote others.
	for _, text := range [...]string{f.ErrorType, f.ExceptionType, f.StatusMessage, f.ExceptionMessage} {
		if class := c.read(text); class != "" {
			return class
		}
	}
	return ""
}

// TextClass reads a class from the text of an error; empty where the words say nothing.
func TextClass(text string) Class {
	if text == "" {
		return ""
	}
	if len(text) > 1024 {
		text = text[:1024]
	}
	if text == "EOF" || strings.HasSuffix(text, ": EOF") {
		return "RESET" // how Go says that the other side has gone
	}
	if i := classWords.Find(text); i >= 0 {
		return words[i].class
	}
	return ""
}

var classWords = func() *Words {
	lists := make([][]string, len(words))
	for i := range words {
		lists[i] = words[i].any
	}
	return NewWords(lists...)
}()

// SQLState is the state or the vendor's number that a database answered with; empty for none.
func SQLState(f *Facts) string {
	if f.DBCode != "" {
		return f.DBCode
	}
	return sqlState(f)
}

func sqlState(f *Facts) string {
	if f.DBSystem == "" {
		return ""
	}
	if looksLikeState(f.ErrorType) {
		return f.ErrorType
	}
	if looksLikeState(f.ExceptionType) {
		return f.ExceptionType
	}
	for _, text := range [...]string{f.StatusMessage, f.ExceptionMessage} {
		if _, rest, found := strings.Cut(text, "SQLSTATE"); found {
			rest = strings.TrimLeft(rest, " =:[(")
			if len(rest) >= 5 && looksLikeState(rest[:5]) {
				return rest[:5]
			}
		}
	}
	return ""
}

// looksLikeState: five digits or capitals, at least two of them digits (SQL:2023, part 2, 24.1).
func looksLikeState(s string) bool {
	if len(s) != 5 {
		return false
	}
	digits := 0
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] >= '0' && s[i] <= '9':
			digits++
		case s[i] < 'A' || s[i] > 'Z':
			return false
		}
	}
	return digits >= 2
}

// SQLClass is the class of an SQL state or of a MySQL error number.
func SQLClass(state string) Class {
	switch state {
	case "40001", "40P01", "1213", "1205", "55P03":
		return "CONFLICT"
	case "57014":
		return "CANCELLED"
	case "57P01", "57P02", "57P03":
		return "UNAVAILABLE"
	case "1040", "1203", "1226":
		return "OVERLOAD"
	case "1044", "1045", "1142":
		return "AUTH"
	case "1064", "1146", "1054", "1062", "1048", "1406", "1452", "1265", "1366":
		return "BAD_REQUEST"
	case "2002", "2003", "2006", "2013":
		return "REFUSED"
	}
	if len(state) != 5 {
		return "APP"
	}
	switch state[:2] {
	case "08":
		return "REFUSED"
	case "22", "23", "42", "26", "34", "3D", "3F":
		if state == "42501" {
			return "AUTH"
		}
		return "BAD_REQUEST"
	case "28":
		return "AUTH"
	case "40":
		return "CONFLICT"
	case "53":
		return "OVERLOAD"
	case "57", "58":
		return "UNAVAILABLE"
	case "XX":
		return "INTERNAL"
	}
	return "APP"
}
