package query

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// QuestionTimeout bounds every question, the wait for its turn among that. ClickHouse gives up a statement some seconds earlier.
const QuestionTimeout = 25 * time.Second

// The bounds of questions at once, if nobody says.
const (
	questionsDefault = 16
	// waitingMost is how many may wait for each that runs, turnMost for how long: who waits longer is better told to come again.
	waitingMost = 4
	turnMost    = 5 * time.Second
)

// ErrBusy is of a question that was not begun, because others run and wait.
var ErrBusy = errors.New("too many questions are being answered; ask again in a few seconds")

// turns are places among the questions that run at once. A page that a whole company opens during an outage must not take
// ClickHouse down.
type turns struct {
	running chan struct{}
	waiting atomic.Int64
}

func newTurns(questions int) *turns { return &turns{running: make(chan struct{}, questions)} }

// take waits for a place.
func (t *turns) take(ctx context.Context) error {
	select {
	case t.running <- struct{}{}:
		return nil
	default:
	}
	defer t.waiting.Add(-1)
	if t.waiting.Add(1) > int64(waitingMost*cap(t.running)) {
		return ErrBusy
	}
	timer := time.NewTimer(turnMost)
	defer timer.Stop()
	select {
	case t.running <- struct{}{}:
		return nil
	case <-timer.C:
		return ErrBusy
	case <-ctx.Done():
		return ctx.Err()
	}
}

// LimitQuestions sets how many questions are answered at once. It is called before the first.
func (s *Service) LimitQuestions(n int) { s.turns = newTurns(n) }

// begun marks the context of a question that has its place: what it asks in turn needs none.
type begun struct{}

// textBytesMax bounds each text that is asked for, and that an error may say again. What it is compared with is hardly ever longer.
const textBytesMax = 4 << 10

// text is what is asked for, and the parameter that says so by its name in the REST interface.
type text struct{ parameter, of string }

// pairs are the keys and values of one parameter.
func pairs(parameter string, of map[string]string) (list []text) {
	for key, value := range of {
		list = append(list, text{parameter, key}, text{parameter, value})
	}
	return list
}

// bounded checks texts that are asked for.
func bounded(asked ...text) error {
	for _, t := range asked {
		if len(t.of) > textBytesMax {
			return Wrong(t.parameter, "%s has %d bytes, more than %d", t.parameter, len(t.of), textBytesMax)
		}
	}
	return nil
}

// begin gives a question its deadline and its place, when the texts that it asks for are not too long. What it returns is to be
// called when the question is answered.
func (s *Service) begin(ctx context.Context, asked ...text) (context.Context, func(), error) {
	if err := bounded(asked...); err != nil {
		return nil, nil, err
	}
	if ctx.Value(begun{}) != nil {
		return ctx, func() {}, nil
	}
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, begun{}, true), QuestionTimeout)
	if err := s.turns.take(ctx); err != nil {
		cancel()
		return nil, nil, err
	}
	return ctx, func() { cancel(); <-s.turns.running }, nil
}

// TooSlow says whether a question was given up because it took too long.
func TooSlow(err error) bool {
	var slow interface{ TimedOut() bool }
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &slow) && slow.TimedOut()
}

// SlowAdvice is what to tell those whose question took too long.
const SlowAdvice = "the question took too long; ask for a shorter window, or for less of it"

// Fault is an ErrInvalid that names what is wrong: a parameter by its name in the REST interface.
type Fault struct {
	Parameter string
	why       string
}

// Error implements error.
func (f *Fault) Error() string { return fmt.Sprintf("%v: %s", ErrInvalid, f.why) }

// Unwrap implements errors.Unwrap.
func (f *Fault) Unwrap() error { return ErrInvalid }

// Wrong is a Fault of a parameter.
func Wrong(parameter, format string, args ...any) error {
	return &Fault{Parameter: parameter, why: fmt.Sprintf(format, args...)}
}
