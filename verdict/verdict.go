// Package verdict says what a verdict is: its closed vocabulary and its JSON form, which are a
// contract with everybody who reads them.
package verdict

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Rules is the version of the rules that the verdicts of this build follow.
const Rules = "1"

// Symptom is what was wrong with the entry.
type Symptom string

// The symptoms.
const (
	SymptomError    Symptom = "error"    // the entry failed
	SymptomDegraded Symptom = "degraded" // the entry succeeded, a failure inside was masked or absorbed
	SymptomLatency  Symptom = "latency"  // it succeeded, slower than its baseline says
	SymptomNone     Symptom = "none"
)

// SiteKind is the kind of place that is to blame.
type SiteKind string

// The kinds of sites.
const (
	SiteService SiteKind = "service" // Service, Operation
	SiteEdge    SiteKind = "edge"    // Caller, Callee, Phase
	SitePeer    SiteKind = "peer"    // Peer, System: something that sends no spans
	SiteUser    SiteKind = "user"    // whoever sent the request
	SiteUnknown SiteKind = "unknown" // Candidates
)

// Phase is the part of an edge in which it went wrong.
type Phase string

// The phases of an edge.
const (
	PhaseConnect  Phase = "connect"  // DNS, TLS, refused
	PhaseRequest  Phase = "request"  // sent, never or late begun
	PhaseResponse Phase = "response" // done, never or late received
	PhaseQueue    Phase = "queue"    // waiting in a broker
	PhasePool     Phase = "pool"     // waiting for a connection or a slot
	PhaseBackoff  Phase = "backoff"  // between attempts
	PhaseBudget   Phase = "budget"   // a timeout shorter than the work
	PhaseContract Phase = "contract" // the two sides disagree about the interface
)

// Role is the part that a hop played.
type Role string

// The roles of a hop.
const (
	RoleOrigin     Role = "origin"
	RolePropagated Role = "propagated"
	RoleMasked     Role = "masked"    // it failed inside and answered OK
	RoleAbsorbed   Role = "absorbed"  // its failed attempt was retried with success, or a hedge lost
	RoleAmplified  Role = "amplified" // it multiplied the load by retrying
	RoleVictim     Role = "victim"    // cancelled or starved by somebody else's failure
	RoleSlow       Role = "slow"
	RoleCleared    Role = "cleared"
)

// Class is the kind of failure that an outcome shows.
type Class string

// The classes of failures.
const (
	ClassTimeout       Class = "TIMEOUT"
	ClassCancelled     Class = "CANCELLED"
	ClassRefused       Class = "REFUSED"
	ClassReset         Class = "RESET"
	ClassDNS           Class = "DNS"
	ClassTLS           Class = "TLS"
	ClassUnavailable   Class = "UNAVAILABLE"
	ClassOverload      Class = "OVERLOAD"
	ClassBreaker       Class = "BREAKER"
	ClassAuth          Class = "AUTH"
	ClassBadRequest    Class = "BAD_REQUEST"
	ClassNotFound      Class = "NOT_FOUND"
	ClassConflict      Class = "CONFLICT"
	ClassUnimplemented Class = "UNIMPLEMENTED"
	ClassInternal      Class = "INTERNAL"
	ClassBadGateway    Class = "BAD_GATEWAY"
	ClassDecode        Class = "DECODE"
	ClassApp           Class = "APP"
)

// The owners that are nobody's team. The sum over all owners, these included, is the total.
const (
	OwnerUnowned = "unowned" // the registry and the spans name nobody
	OwnerUser    = "user"    // whoever sent the request
	OwnerUnknown = "unknown" // the facts name no site
)

// Verdict is the judgement of one entry of a trace.
type Verdict struct {
	TraceID     string  `json:"traceId"`
	Rules       string  `json:"rules"`
	Version     uint32  `json:"version"`
	Provisional bool    `json:"provisional,omitempty"` // judged before the trace has settled
	Entry       Entry   `json:"entry"`
	Symptom     Symptom `json:"symptom"`
	Shares      []Share `json:"shares"`
	Hops        []Hop   `json:"hops"`
	// Represents is for how many requests this one stands, by what its sampler says; 0 is 1.
	Represents   float64  `json:"represents,omitempty"`
	Completeness float64  `json:"completeness"`
	Notes        []string `json:"notes,omitempty"`
	Summary      string   `json:"summary"`
	// Tried is there when it was asked for.
	Tried []Tried `json:"tried,omitempty"`
}

// Tried is a rule that was tried on a span, and why it did or did not fit.
type Tried struct {
	Span string `json:"spanId"`
	Of   string `json:"of"`
	Rule string `json:"rule"`
	Fits bool   `json:"fits"`
	Why  string `json:"why"`
}

// Entry is the span with which a request came in: a root, or the topmost span of a fragment.
type Entry struct {
	Service    string `json:"service"`
	Operation  string `json:"operation"`
	SpanID     string `json:"spanId"`
	Start      Time   `json:"start"`
	DurationNs int64  `json:"durationNs"`
}

// Site is a place that is to blame. Only the fields of its kind are set.
type Site struct {
	Kind       SiteKind `json:"kind"`
	Service    string   `json:"service,omitempty"`
	Operation  string   `json:"operation,omitempty"`
	Caller     string   `json:"caller,omitempty"`
	Callee     string   `json:"callee,omitempty"`
	Phase      Phase    `json:"phase,omitempty"`
	Peer       string   `json:"peer,omitempty"`
	System     string   `json:"system,omitempty"`
	Candidates []string `json:"candidates,omitempty"`
}

// String is the site in the words of a sentence.
func (s Site) String() string {
	switch s.Kind {
	case SiteService:
		if s.Operation == "" {
			return s.Service
		}
		return s.Service + " " + s.Operation
	case SiteEdge:
		return fmt.Sprintf("%s->%s (%s)", s.Caller, s.Callee, s.Phase)
	case SitePeer:
		return s.Peer
	case SiteUser:
		return "the sender of the request"
	default:
		return "unknown"
	}
}

// Share is the part of the blame that one site carries.
type Share struct {
	Site Site `json:"site"`
	// Accountable is the service whose owner must act, empty where the facts do not decide, and of an edge that has an owner
	// of its own.
	Accountable string `json:"accountable"`
	// Owner is the team that owns Accountable, or the edge, or one of OwnerUnowned, OwnerUser, OwnerUnknown.
	Owner string `json:"owner"`
	// Weight is this share of the blame, 0 to 1; the weights of a verdict sum to 1.
	Weight float64 `json:"weight"`
	// Caller is the service that called the site, Callee what the site's own call went to that went wrong; both empty of
	// an edge, and where that is not known.
	Caller string `json:"caller,omitempty"`
	Callee string `json:"callee,omitempty"`
	// Version is the service.version of Accountable, or of the site's service.
	Version string `json:"version,omitempty"`
	// ExcessNs is this share of the time over the baseline; the shares of a latency verdict sum to it exactly.
	ExcessNs int64 `json:"excessNs"`
	// Confidence is the probability, 0 to 1, that this share names the right site.
	Confidence float64 `json:"confidence"`
	// Rule is the rule that fitted, by its name in docs/blame.md.
	Rule      string     `json:"rule"`
	Class     Class      `json:"class,omitempty"`
	ErrorType string     `json:"errorType,omitempty"`
	SpanIDs   []string   `json:"spanIds"`
	Evidence  []string   `json:"evidence"`
	RunnerUp  *Candidate `json:"runnerUp,omitempty"`
	// Amplification is how many attempts this one failure was made into by retries, 0 or 1 for none.
	Amplification int `json:"amplification,omitempty"`
	// Fingerprint is the same for the same fault in other traces: 16 hexadecimal digits.
	Fingerprint string `json:"fingerprint"`
}

// Candidate is a site that might have been blamed instead.
type Candidate struct {
	Site       Site    `json:"site"`
	Confidence float64 `json:"confidence"`
}

// Suspect is a service that may be breaking the requests of a window. Ranks are strict: 1, 2, 3, …
type Suspect struct {
	Rank    int    `json:"rank"`
	Site    Site   `json:"site"`
	Service string `json:"service"`
	Owner   string `json:"owner"`
	// Score is how much of the window's trouble is its own: the share of its requests that it fails or
	// breaks off, plus the time that it adds to them in parts of what they normally take.
	Score     float64  `json:"score"`
	Why       string   `json:"why"`
	Exemplars []string `json:"exemplars"` // trace ids, the clearest first
}

// Hop is one service in the trace and the part it played; every service of the trace has one.
type Hop struct {
	Service   string `json:"service"`
	Operation string `json:"operation"`
	Role      Role   `json:"role"`
	Why       string `json:"why"`
	// Owner is the team that owns the service, OwnerUnowned where nobody does.
	Owner string `json:"owner,omitempty"`
	// Caller is the service of the hop that called this one first, empty for the entry's: the hops
	// of a verdict are in the order of a walk down from the entry, and form a tree by Caller.
	Caller string `json:"caller,omitempty"`
	// OffsetNs and DurationNs place the hop's first span in time, from the start of the entry.
	OffsetNs   int64    `json:"offsetNs"`
	DurationNs int64    `json:"durationNs"`
	SpanIDs    []string `json:"spanIds,omitempty"`
}

// Suffered says whether hop k is the first by which its owner suffered from what others did.
func (v *Verdict) Suffered(k int) bool {
	h := &v.Hops[k]
	if !h.suffered() || slices.ContainsFunc(v.Shares, func(s Share) bool { return s.Owner == h.Owner }) {
		return false
	}
	return !slices.ContainsFunc(v.Hops[:k], func(before Hop) bool { return before.Owner == h.Owner && before.suffered() })
}

func (h *Hop) suffered() bool {
	switch h.Role {
	case RolePropagated, RoleMasked, RoleVictim, RoleAmplified:
		return h.Owner != ""
	case RoleOrigin, RoleAbsorbed, RoleSlow, RoleCleared:
	}
	return false
}

// Time is an instant that is written in RFC 3339, in UTC, always with nine digits.
type Time struct{ UnixNs int64 }

const timeLayout = "2006-01-02T15:04:05.000000000Z07:00"

// MarshalJSON writes the instant as a string.
func (t Time) MarshalJSON() ([]byte, error) {
	return json.Marshal(time.Unix(0, t.UnixNs).UTC().Format(timeLayout))
}

// UnmarshalJSON reads any RFC 3339 instant.
func (t *Time) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("time of a verdict: %w", err)
	}
	at, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return fmt.Errorf("time of a verdict: %w", err)
	}
	t.UnixNs = at.UnixNano()
	return nil
}
