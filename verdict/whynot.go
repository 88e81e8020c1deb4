package verdict

import (
	"fmt"
	"slices"
)

// WhyNot says why a service is not to blame for what was wrong with an entry; or that it is.
type WhyNot struct {
	TraceID string `json:"traceId"`
	Entry   Entry  `json:"entry"`
	Service string `json:"service"`
	Role    Role   `json:"role,omitempty"`
	// Blamed: it carries a share, or must act for one.
	Blamed bool `json:"blamed"`
	// Answer is in sentences, the one that says most first.
	Answer []string `json:"answer"`
	// Tried are the rules that were tried on its spans and on calls to it. There are none where nothing of it failed.
	Tried []Tried `json:"tried"`
}

// WhyNot explains the part of a service in a verdict, ok being false where it has none. Explained is the same entry judged again,
// with what was tried on that service; nil where its spans have expired.
func (v *Verdict) WhyNot(service string, explained *Verdict) (w WhyNot, ok bool) {
	w = WhyNot{TraceID: v.TraceID, Entry: v.Entry, Service: service, Tried: []Tried{}}
	at := slices.IndexFunc(v.Hops, func(h Hop) bool { return h.Service == service })
	concerned := slices.IndexFunc(v.Shares, func(s Share) bool { return s.Site.Concerns(service) || s.Accountable == service })
	if at < 0 && concerned < 0 {
		return w, false
	}
	if explained != nil {
		w.Tried = append(w.Tried, explained.Tried...)
	}
	if at >= 0 {
		w.Role = v.Hops[at].Role
	}
	for i := range v.Shares {
		w.ofShare(&v.Shares[i])
	}
	if at >= 0 && !w.Blamed {
		w.Answer = append([]string{fmt.Sprintf("%s is not to blame (%s): %s.", service, w.Role, v.Hops[at].Why)}, w.Answer...)
	}
	if len(v.Shares) == 0 {
		w.Answer = append(w.Answer, "Nothing is to blame: the request is fine.")
	}
	w.ofTried(v, explained)
	return w, true
}

// ofShare says what a share has to do with the service.
func (w *WhyNot) ofShare(s *Share) {
	switch {
	case s.Accountable == w.Service || s.Site.Kind == SiteService && s.Site.Service == w.Service || s.Site.Kind == SitePeer && s.Site.Peer == w.Service:
		w.Blamed = true
		w.Answer = append(w.Answer, fmt.Sprintf("It is to blame: %s carries %s of it by rule %s, with a confidence of %s.", s.Site, Percent(s.Weight), s.Rule, Percent(s.Confidence)))
	case s.Site.Concerns(w.Service):
		w.Answer = append(w.Answer, fmt.Sprintf("What is to blame lies between it and another: %s carries %s by rule %s, and %s.", s.Site, Percent(s.Weight), s.Rule, mustAct(s)))
	}
	r := s.RunnerUp
	switch {
	case r == nil && !w.Blamed:
		w.Answer = append(w.Answer, fmt.Sprintf("Rule %s named %s with a confidence of %s, and nothing came second.", s.Rule, s.Site, Percent(s.Confidence)))
	case r == nil:
	case r.Site.Kind == SiteEdge && r.Site.Concerns(w.Service):
		w.Answer = append(w.Answer, fmt.Sprintf("Rule %s named %s (%s); second came %s (%s), of which it is a side.", s.Rule, s.Site, Percent(s.Confidence), r.Site, Percent(r.Confidence)))
	case r.Site.Concerns(w.Service):
		w.Answer = append(w.Answer, fmt.Sprintf("It came second: if it was not %s (%s), then %s, which was given %s.", s.Site, Percent(s.Confidence), r.Site, Percent(r.Confidence)))
	default:
		w.Answer = append(w.Answer, fmt.Sprintf("Rule %s named %s (%s); second came %s (%s).", s.Rule, s.Site, Percent(s.Confidence), r.Site, Percent(r.Confidence)))
	}
}

func mustAct(s *Share) string {
	if s.Accountable == "" {
		return "the facts do not decide who must act"
	}
	return s.Accountable + " must act"
}

// ofTried says how many rules were tried, and whether the verdict would be the same today.
func (w *WhyNot) ofTried(v, explained *Verdict) {
	var spans []string
	fitted := 0
	for _, t := range w.Tried {
		if !slices.Contains(spans, t.Span) {
			spans = append(spans, t.Span)
		}
		if t.Fits {
			fitted++
		}
	}
	switch {
	case explained == nil:
		w.Answer = append(w.Answer, "Its spans have expired: which rules were tried cannot be said any more.")
	case len(spans) == 0:
		w.Answer = append(w.Answer, "No rule was tried on it: the way from the entry down to what went wrong does not lead through its spans.")
	default:
		w.Answer = append(w.Answer, fmt.Sprintf("%d rules were tried on %d of its spans and the calls to it; %d fitted.", len(w.Tried), len(spans), fitted))
	}
	if explained != nil && !sameBlame(v.Shares, explained.Shares) {
		w.Answer = append(w.Answer, "Judged again now, with what is known to be normal today, the verdict is another: "+explained.Summary)
	}
}

func sameBlame(a, b []Share) bool {
	return slices.EqualFunc(a, b, func(x, y Share) bool { return x.Rule == y.Rule && x.Site.String() == y.Site.String() })
}

// Concerns says whether a service or a peer is the site, or a side of it.
func (s Site) Concerns(service string) bool {
	return slices.Contains([]string{s.Service, s.Caller, s.Callee, s.Peer}, service) || slices.Contains(s.Candidates, service)
}
