package trace

import (
	"strconv"

	"github.com/whosehop/whosehop/storage/spans"
)

// Facts is what a span's attributes and events say, under one name whichever version of the
// semantic conventions it was written by.
type Facts struct {
	HTTPStatus int // 0: none
	HTTPMethod string
	Route      string
	URL        string // full URL, or the target
	Resend     int    // 0: first attempt or not said

	RPCSystem  string
	RPCService string
	RPCMethod  string
	GRPCCode   int // -1: none

	DBSystem    string
	DBNamespace string
	DBStatement string
	DBCode      string // SQL state, or the server's own error number

	MsgSystem      string
	MsgDestination string
	MsgID          string

	PeerService string
	Address     string // of the callee, as the caller names it
	Port        string
	ErrorType   string
	EnvoyFlags  string

	// The last exception event.
	ExceptionType    string
	ExceptionMessage string
	ExceptionNs      int64

	StatusMessage string
}

// read are the attributes that facts are read from.
var read = map[string]bool{
	"http.response.status_code":  true,
	"http.status_code":           true,
	"http.request.method":        true,
	"http.method":                true,
	"http.route":                 true,
	"url.full":                   true,
	"http.url":                   true,
	"http.target":                true,
	"url.path":                   true,
	"http.request.resend_count":  true,
	"http.resend_count":          true,
	"http.retry_count":           true,
	"rpc.grpc.attempt":           true,
	"grpc.attempt":               true,
	"grpc.previous_rpc_attempts": true,
	"rpc.system.name":            true,
	"rpc.system":                 true,
	"rpc.service":                true,
	"rpc.method":                 true,
	"rpc.grpc.status_code":       true,
	"rpc.status_code":            true,
	"rpc.response.status_code":   true,
	"rpc.connect_rpc.error_code": true,
	"db.system.name":             true,
	"db.system":                  true,
	"db.namespace":               true,
	"db.name":                    true,
	"db.query.text":              true,
	"db.statement":               true,
	"db.response.status_code":    true,
	"messaging.system":           true,
	"messaging.destination.name": true,
	"messaging.destination":      true,
	"messaging.message.id":       true,
	"service.peer.name":          true,
	"peer.service":               true,
	"server.address":             true,
	"net.peer.name":              true,
	"server.port":                true,
	"net.peer.port":              true,
	"network.peer.address":       true,
	"net.sock.peer.addr":         true,
	"net.peer.ip":                true,
	"error.type":                 true,
	"response_flags":             true,
	"envoy.response_flags":       true,
	// For how many requests it stands.
	attrSampleRate: true,
	// Whose code it was.
	"code.file.path": true,
	"code.filepath":  true,
}

// Reads says whether a span attribute has any part in the judgement: the others need not be brought here.
func Reads(key string) bool { return read[key] }

// readFacts reads row i of the block. Where an attribute is there under its new and an old name,
// the new one wins.
func readFacts(f *Facts, b *spans.Block, i int, kind spans.Kind) {
	f.GRPCCode, f.StatusMessage = -1, view(b.StatusMessages.At(i))
	var host, sockAddr, rpcCodeWord string
	callee := kind == spans.KindClient || kind == spans.KindProducer || kind == spans.KindInternal
	from, to := b.Attrs.Range(i)
	for p := from; p < to; p++ {
		value := view(b.Attrs.Values.At(p))
		if value == "" {
			continue
		}
		switch view(b.Attrs.Keys.At(p)) {
		case "http.response.status_code":
			f.HTTPStatus = number(value, 0)
		case "http.status_code":
			older(&f.HTTPStatus, number(value, 0), 0)
		case "http.request.method":
			f.HTTPMethod = value
		case "http.method":
			olderText(&f.HTTPMethod, value)
		case "http.route":
			f.Route = value
		case "url.full":
			f.URL = value
		case "http.url", "http.target", "url.path":
			olderText(&f.URL, value)
		case "http.request.resend_count":
			f.Resend = number(value, 0)
		case "http.resend_count", "http.retry_count", "rpc.grpc.attempt", "grpc.attempt", "grpc.previous_rpc_attempts":
			older(&f.Resend, number(value, 0), 0)
		case "rpc.system.name":
			f.RPCSystem = value
		case "rpc.system":
			olderText(&f.RPCSystem, value)
		case "rpc.service":
			f.RPCService = value
		case "rpc.method":
			f.RPCMethod = value
		case "rpc.grpc.status_code":
			older(&f.GRPCCode, number(value, -1), -1)
		case "rpc.status_code", "rpc.response.status_code", "rpc.connect_rpc.error_code":
			rpcCodeWord = value
		case "db.system.name":
			f.DBSystem = value
		case "db.system":
			olderText(&f.DBSystem, value)
		case "db.namespace":
			f.DBNamespace = value
		case "db.name":
			olderText(&f.DBNamespace, value)
		case "db.query.text":
			f.DBStatement = value
		case "db.statement":
			olderText(&f.DBStatement, value)
		case "db.response.status_code":
			f.DBCode = value
		case "messaging.system":
			f.MsgSystem = value
		case "messaging.destination.name":
			f.MsgDestination = value
		case "messaging.destination":
			olderText(&f.MsgDestination, value)
		case "messaging.message.id":
			f.MsgID = value
		case "service.peer.name":
			f.PeerService = value
		case "peer.service":
			olderText(&f.PeerService, value)
		case "server.address":
			if callee {
				f.Address = value
			}
		case "net.peer.name":
			if callee {
				olderText(&host, value)
			}
		case "server.port":
			if callee {
				f.Port = value
			}
		case "net.peer.port":
			if callee {
				olderText(&f.Port, value)
			}
		case "network.peer.address":
			sockAddr = value
		case "net.sock.peer.addr", "net.peer.ip":
			olderText(&sockAddr, value)
		case "error.type":
			f.ErrorType = value
		case "response_flags", "envoy.response_flags":
			f.EnvoyFlags = value
		}
	}
	if f.Address == "" {
		f.Address = host
	}
	if callee && f.Address == "" {
		f.Address = hostOf(f.URL, &f.Port)
	}
	if callee && f.Address == "" {
		f.Address = sockAddr
	}
	if rpcCodeWord != "" {
		if code := grpcCode(rpcCodeWord); code >= 0 {
			f.GRPCCode = code
		}
	}
	if f.RPCService == "" && f.RPCMethod != "" {
		f.RPCService, f.RPCMethod = splitMethod(f.RPCMethod)
	}
	f.readException(b, i)
}

func (f *Facts) readException(b *spans.Block, i int) {
	from, to := b.EventRange(i)
	for e := from; e < to; e++ {
		if view(b.Events.Names.At(e)) != "exception" || b.Events.TimeNs[e] < f.ExceptionNs {
			continue
		}
		kind, _ := b.Events.Attrs.Get(e, "exception.type")
		message, _ := b.Events.Attrs.Get(e, "exception.message")
		if b.Events.TimeNs[e] == f.ExceptionNs && view(kind)+view(message) < f.ExceptionType+f.ExceptionMessage {
			continue // the same instant: the order of the events must not matter
		}
		f.ExceptionType, f.ExceptionMessage = view(kind), view(message)
		f.ExceptionNs = b.Events.TimeNs[e]
	}
}

// HasException says whether an exception was recorded on the span.
func (f *Facts) HasException() bool { return f.ExceptionType != "" || f.ExceptionMessage != "" }

// older takes a value from an attribute of an older name unless a newer one was there.
func older(to *int, value, none int) {
	if *to == none {
		*to = value
	}
}

func olderText(to *string, value string) {
	if *to == "" {
		*to = value
	}
}

func number(s string, otherwise int) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return otherwise
	}
	return n
}

// hostOf is the host of an absolute URL, empty for anything else; the port goes where none is yet.
func hostOf(url string, port *string) string {
	for i := 0; i+2 < len(url) && i < 12; i++ {
		if url[i] != ':' || url[i+1] != '/' || url[i+2] != '/' {
			continue
		}
		host := url[i+3:]
		for j := 0; j < len(host); j++ {
			if host[j] == '/' || host[j] == '?' || host[j] == '#' {
				host = host[:j]
				break
			}
		}
		for j := len(host) - 1; j >= 0; j-- {
			if host[j] == '@' {
				host = host[j+1:]
				break
			}
		}
		for j := len(host) - 1; j >= 0 && host[j] != ']'; j-- {
			if host[j] == ':' {
				olderText(port, host[j+1:])
				return host[:j]
			}
		}
		return host
	}
	return ""
}

func splitMethod(full string) (service, method string) {
	for i := len(full) - 1; i >= 0; i-- {
		if full[i] == '/' {
			service = full[:i]
			if service != "" && service[0] == '/' {
				service = service[1:]
			}
			return service, full[i+1:]
		}
	}
	return "", full
}
