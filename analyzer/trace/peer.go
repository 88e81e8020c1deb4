package trace

import "strings"

// PeerName names what a call went to when it sends no spans of its own: the first that is there of
// the peer service; database system, namespace and address; broker and destination; the service
// part of the RPC method; address and port.
func (f *Facts) PeerName() string {
	switch {
	case f.PeerService != "":
		return f.PeerService
	case f.DBSystem != "":
		return join(f.DBSystem, f.DBNamespace, f.Address)
	case f.MsgSystem != "":
		return join(f.MsgSystem, f.MsgDestination)
	case f.RPCService != "":
		return f.RPCService
	case f.Address != "" && f.Port != "":
		return f.Address + ":" + f.Port
	}
	return f.Address
}

// System is the kind of the peer: the database or messaging system, or the RPC system.
func (f *Facts) System() string {
	switch {
	case f.DBSystem != "":
		return f.DBSystem
	case f.MsgSystem != "":
		return f.MsgSystem
	}
	return f.RPCSystem
}

// CalleeKey tells the callees of one operation apart, without making a name for them.
func (f *Facts) CalleeKey() string {
	switch {
	case f.PeerService != "":
		return f.PeerService
	case f.MsgDestination != "":
		return f.MsgDestination
	case f.Address != "":
		return f.Address
	case f.DBSystem != "":
		return f.DBSystem
	}
	return f.RPCService
}

// CalleeName guesses the service.name of a callee that sent no span: the peer service, or the host
// name, without its domain where that is a cluster's own.
func (f *Facts) CalleeName() string {
	switch {
	case f.PeerService != "":
		return f.PeerService
	case f.DBSystem != "" || f.MsgSystem != "":
		return f.PeerName()
	case f.RPCService != "" && (f.Address == "" || isIP(f.Address)):
		return f.RPCService // which says more than an address
	case f.Address != "":
		return hostLabel(f.Address)
	}
	return ""
}

func isIP(host string) bool {
	for i := range len(host) {
		if c := host[i]; c != '.' && c != ':' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'f' || !strings.Contains(host, ":")) {
			return false
		}
	}
	return true
}

// NamesService says whether the call may have gone to the service of that name.
func (f *Facts) NamesService(service string) bool {
	if service == "" || service == Unnamed {
		return false
	}
	if strings.EqualFold(f.PeerService, service) || strings.EqualFold(f.Address, service) {
		return true
	}
	if f.DBSystem != "" || f.MsgSystem != "" {
		return false
	}
	label, _, _ := strings.Cut(f.Address, ".")
	if sameName(label, service) {
		return true
	}
	if f.RPCService != "" {
		last := f.RPCService[strings.LastIndexByte(f.RPCService, '.')+1:]
		if sameName(last, service) || sameName(strings.TrimSuffix(last, "Service"), service) {
			return true
		}
	}
	return false
}

// sameName compares names as people spell them in several places: case, dashes and the usual
// endings do not count.
func sameName(a, b string) bool {
	a, b = plainName(a), plainName(b)
	return a != "" && a == b
}

func plainName(s string) string {
	s = strings.ToLower(s)
	s = strings.NewReplacer("-", "", "_", "").Replace(s)
	for _, end := range [...]string{"service", "svc", "server", "api"} {
		if rest := strings.TrimSuffix(s, end); rest != "" {
			s = rest
		}
	}
	return s
}

func hostLabel(host string) string {
	label, domain, dotted := strings.Cut(host, ".")
	if !dotted {
		return host
	}
	for _, own := range [...]string{".internal", ".local", ".svc", ".consul", ".lan", ".intranet", ".corp"} {
		if strings.HasSuffix(host, own) {
			return label
		}
	}
	if strings.Contains("."+domain+".", ".svc.") {
		return label
	}
	return host
}

func join(parts ...string) string {
	var b strings.Builder
	for _, p := range parts {
		if p == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(p)
	}
	return b.String()
}
