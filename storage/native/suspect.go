package native

import (
	"strconv"
	"strings"
)

// suspicion is what an attribute may say of its span. Together with an error status and an exception they
// are the default of the column Suspect (migrations), which is a superset of "failed".
type suspicion uint8

const (
	trusted     suspicion = iota
	anyValue              // error.type: suspect whatever it says
	httpStatus            // suspect from 400 on
	rpcStatus             // suspect unless it is 0 or OK
	grpcStatus            // suspect unless it is 0
	trueIsError           // the old error=true
)

func suspicionOf(key []byte) suspicion {
	switch string(key) {
	case "error.type", "rpc.connect_rpc.error_code":
		return anyValue
	case "http.response.status_code", "http.status_code":
		return httpStatus
	case "rpc.grpc.status_code":
		return grpcStatus
	case "rpc.response.status_code", "rpc.status_code":
		return rpcStatus
	case "error":
		return trueIsError
	}
	return trusted
}

func (s suspicion) raisedBy(value []byte) bool {
	switch s {
	case anyValue:
		return len(value) > 0
	case httpStatus:
		if len(value) == 3 && value[0] < '4' {
			return false
		}
		n, err := strconv.ParseUint(strings.TrimPrefix(view(value), "+"), 10, 16) // ClickHouse reads a plus, too
		return err == nil && n >= 400
	case grpcStatus:
		return len(value) > 0 && string(value) != "0"
	case rpcStatus:
		return len(value) > 0 && string(value) != "0" && string(value) != "OK"
	case trueIsError:
		return string(value) == "true"
	}
	return false
}
