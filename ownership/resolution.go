package ownership

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/whosehop/whosehop/ownership/catalog"
)

// Inquiry is what a person asks who owns it: one of a service, a peer and an edge, and more of the service.
type Inquiry struct {
	Service, Namespace, Environment, Operation string
	// Peer is something that sends no spans: a datastore, a third party. Beside a service, it is asked for as that service
	// calls it; alone, namespace, environment and attributes are its own.
	Peer string
	// Edge is CALLER->CALLEE, and may have a phase behind a colon.
	Edge string
	// CodePath is a source file, Attributes are those of the resource.
	CodePath   string
	Attributes map[string]string
	At         time.Time // zero is now
}

// Resolution is who owns what was asked about, with all that is known of how to reach them. Its JSON is a contract.
type Resolution struct {
	About string `json:"about"`
	// Owner is a team, a person, or "unowned".
	Owner string `json:"owner"`
	// Owners are others beside it.
	Owners []string `json:"owners,omitempty"`
	Rule   Rule     `json:"rule"`
	Why    string   `json:"why"`
	// Source is where the record that decided stands.
	Source *catalog.Source `json:"source,omitempty"`
	// Side of an edge, "caller" or "callee", the owner of which it is, and why that side.
	Side    string `json:"side,omitempty"`
	SideWhy string `json:"sideWhy,omitempty"`
	// Sides are the owners of the caller and the callee, of an edge that is neither's alone by what is known.
	Sides []Side `json:"sides,omitempty"`
	// Charter is what the record and its team say of on-call and the like.
	Charter catalog.Charter `json:"charter"`
	At      time.Time       `json:"at"`
	Trail   []Step          `json:"trail,omitempty"`
}

// Side is a service at one end of an edge, and its owner.
type Side struct {
	Side    string `json:"side"`
	Service string `json:"service"`
	Owner   string `json:"owner"`
	Why     string `json:"why"`
}

// SplitEdge reads CALLER->CALLEE, and the phase if there is one behind a colon. A callee may be host:port; one with another
// colon needs one behind it as well.
func SplitEdge(text string) (caller, callee, phase string, err error) {
	caller, callee, phase = catalog.ParseEdge(text)
	switch {
	case caller == "" || callee == "":
		return "", "", "", fmt.Errorf("%q is no edge like checkout->payments or checkout->payments:pool", text)
	case phase != "" && !slices.Contains(catalog.Phases, phase):
		return "", "", "", fmt.Errorf("%q is no phase: there are %s", phase, strings.Join(catalog.Phases, ", "))
	}
	return caller, callee, phase, nil
}

// Check says what is wrong with an inquiry, if anything.
func (i *Inquiry) Check() error {
	switch {
	case i.Edge != "" && (i.Service != "" || i.Peer != ""):
		return errors.New("an edge is asked for by itself: leave service and peer out")
	case i.Operation != "" && (i.Service == "" || i.Peer != ""):
		return errors.New("an operation goes with a service alone")
	case i.Edge != "":
		_, _, _, err := SplitEdge(i.Edge)
		return err
	case i.Service == "" && i.Peer == "" && i.CodePath == "" && i.Namespace == "" && len(i.Attributes) == 0:
		return errors.New("nothing is asked for: name a service, a peer or an edge")
	}
	return nil
}

// Inquire answers a person.
func (r *Registry) Inquire(i Inquiry) (*Resolution, error) {
	if err := i.Check(); err != nil {
		return nil, err
	}
	if i.At.IsZero() {
		i.At = time.Now()
	}
	switch {
	case i.Edge != "":
		caller, callee, phase, err := SplitEdge(i.Edge)
		return r.inquireEdge(i, caller, callee, phase), err
	case i.Service != "" && i.Peer != "":
		q := i.question(i.Service)
		q.Callee = i.Peer
		edge := r.resolution("edge "+i.Service+"->"+i.Peer, q, i.At)
		if edge.Rule == ByNobody {
			peer := r.resolution(i.Peer, i.question(i.Peer), i.At)
			peer.Trail = append(edge.Trail, peer.Trail...)
			return peer, nil
		}
		return r.accountable(edge, i, i.Service, i.Peer), nil
	}
	name := cmp.Or(i.Service, i.Peer)
	about := strings.TrimSpace(name + " " + i.Operation)
	return r.resolution(cmp.Or(about, i.CodePath, i.Namespace, "the attributes given"), i.question(name), i.At), nil
}

// question is about a service, or something like it.
func (i *Inquiry) question(name string) *Question {
	q := &Question{Service: name, AtNs: i.At.UnixNano()}
	if i.Service != "" && name == i.Peer && name != i.Service {
		return q // the rest is about the service that calls it
	}
	attribute := func(keys ...string) string {
		for _, key := range keys {
			if v := i.Attributes[key]; v != "" {
				return v
			}
		}
		return ""
	}
	q.Namespace, q.Environment = cmp.Or(i.Namespace, attribute(serviceNamespace)), cmp.Or(i.Environment, attribute("deployment.environment.name", "deployment.environment"))
	q.Operation, q.CodePath = i.Operation, cmp.Or(i.CodePath, attribute("code.file.path", "code.filepath"))
	q.Attr = func(key string) (string, bool) {
		v, ok := i.Attributes[key]
		return v, ok
	}
	return q
}

func (r *Registry) resolution(about string, q *Question, at time.Time) *Resolution {
	answer, trail := r.Explain(q)
	n := &Resolution{About: about, Owner: answer.Owner, Rule: answer.Rule, Why: answer.Why(), Side: answer.Side, At: at.UTC(), Trail: trail}
	if c := answer.Record; c != nil {
		n.Source, n.Owners = &c.Source, c.Owners
	}
	n.Charter = r.Charter(q, answer)
	return n
}

// inquireEdge answers for an edge: its owner, if it has one; or the owner of the side that is accountable by a record, or by
// its phase; else nobody, with the owners of both sides.
func (r *Registry) inquireEdge(i Inquiry, caller, callee, phase string) *Resolution {
	i.Service, i.Peer = caller, callee
	q := i.question(caller)
	q.Callee, q.Phase = callee, phase
	about := "edge " + caller + "->" + callee
	if phase != "" {
		about += ":" + phase
	}
	n := r.resolution(about, q, i.At)
	if n.Rule == ByNobody {
		n.Side, n.SideWhy = DefaultSide(phase)
	}
	return r.accountable(n, i, caller, callee)
}

// accountable answers for an edge whose side is known with the owner of that side.
func (r *Registry) accountable(n *Resolution, i Inquiry, caller, callee string) *Resolution {
	ask := func(name string) *Resolution { return r.resolution(name, i.question(name), i.At) }
	switch {
	case n.Side != "":
		name := caller
		if n.Side == Callee {
			name = callee
		}
		side := ask(name)
		side.About, side.Side, side.SideWhy = n.About, n.Side, cmp.Or(n.SideWhy, n.Why)
		side.Trail = append(n.Trail, side.Trail...)
		return side
	case n.Rule == ByNobody:
		n.Why = n.SideWhy
		n.SideWhy = ""
		for _, s := range []Side{{Side: Caller, Service: caller}, {Side: Callee, Service: callee}} {
			owner := ask(s.Service)
			s.Owner, s.Why = owner.Owner, owner.Why
			n.Sides = append(n.Sides, s)
		}
	}
	return n
}
