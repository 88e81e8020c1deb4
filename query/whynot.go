package query

import (
	"context"
	"slices"
	"strings"

	"github.com/whosehop/whosehop/verdict"
)

// WhyNot says of one service why it is not to blame, of each entry of a trace in which it has a part; or that it is.
func (s *Service) WhyNot(ctx context.Context, traceID, service string) ([]verdict.WhyNot, error) {
	ctx, done, err := s.begin(ctx, text{"traceId", traceID}, text{"service", service})
	if err != nil {
		return nil, err
	}
	defer done()
	if service == "" {
		return nil, Wrong("service", "name the service that is asked about")
	}
	before, err := s.judgedBefore(ctx, traceID)
	if err != nil {
		return nil, err
	}
	// What was tried is not stored: the trace is judged once more.
	explained, err := s.judge.ExplainNow(ctx, before.of, service)
	if err != nil {
		return nil, err
	}
	verdicts := before.verdicts
	if len(verdicts) == 0 {
		if err := s.mark(ctx, explained, &before); err != nil {
			return nil, err
		}
		verdicts = explained
	}
	var answers []verdict.WhyNot
	var known []string
	for i := range verdicts {
		v := &verdicts[i]
		var again *verdict.Verdict
		if at := slices.IndexFunc(explained, func(e verdict.Verdict) bool { return e.Entry.SpanID == v.Entry.SpanID }); at >= 0 {
			again = &explained[at]
		}
		if answer, ok := v.WhyNot(service, again); ok {
			answers = append(answers, answer)
		}
		for k := range v.Hops {
			if name := v.Hops[k].Service; !slices.Contains(known, name) {
				known = append(known, name)
			}
		}
	}
	if len(answers) == 0 {
		const listed = 20
		return nil, Wrong("service", "%q has no part in this trace; those that have: %s", service, strings.Join(known[:min(len(known), listed)], ", "))
	}
	return answers, nil
}
