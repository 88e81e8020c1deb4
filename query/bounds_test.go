package query

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// exempt are methods that ask nothing of the storage, or have bounds of their own.
var exempt = []string{"ResolveOwner", "Ready", "ApplyOwners"}

// TestEveryQuestionTakesATurn: while as many run as may, and as many wait, each is refused at once.
func TestEveryQuestionTakesATurn(t *testing.T) {
	s := New(nil, nil, nil, nil)
	s.LimitQuestions(1)
	s.turns.running <- struct{}{}
	s.turns.waiting.Store(waitingMost)
	asked := 0
	for method, value := range reflect.ValueOf(s).Methods() {
		kind := value.Type()
		if kind.NumIn() == 0 || kind.In(0) != reflect.TypeFor[context.Context]() || slices.Contains(exempt, method.Name) {
			continue
		}
		asked++
		args := []reflect.Value{reflect.ValueOf(t.Context())}
		for i := 1; i < kind.NumIn(); i++ {
			args = append(args, reflect.Zero(kind.In(i)))
		}
		results := value.Call(args)
		if err, _ := results[len(results)-1].Interface().(error); !errors.Is(err, ErrBusy) {
			t.Errorf("%s: %v, want %v; begin it with s.begin", method.Name, err, ErrBusy)
		}
	}
	if asked < 10 {
		t.Errorf("only %d questions were asked", asked)
	}
}

func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(nil, nil, nil, nil)
		s.LimitQuestions(2)
		started := time.Now()
		ctx, done, err := s.begin(t.Context())
		deadline, _ := ctx.Deadline()
		if err != nil || deadline.Sub(started) != QuestionTimeout {
			t.Fatal(err, deadline)
		}
		// What a question asks in turn has the place of the question.
		_, doneToo, err := s.begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, within, err := s.begin(ctx); err != nil {
			t.Error(err)
		} else {
			within()
		}
		// A third waits until one is done.
		got := make(chan error)
		go func() { _, done, err := s.begin(t.Context()); done(); got <- err }()
		time.Sleep(time.Second)
		doneToo()
		if err := <-got; err != nil || time.Since(started) != time.Second {
			t.Error(err, time.Since(started))
		}
		// Or not for longer than is of use, or than it wants.
		_, doneToo, _ = s.begin(t.Context())
		started = time.Now()
		if _, _, err := s.begin(t.Context()); !errors.Is(err, ErrBusy) || time.Since(started) != turnMost {
			t.Error(err, time.Since(started))
		}
		left, leave := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, leave)
		if _, _, err := s.begin(left); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		// Of more than may wait, those beyond are refused at once.
		for range 2 * waitingMost {
			go func() { _, _, err := s.begin(t.Context()); got <- err }()
		}
		synctest.Wait()
		started = time.Now()
		if _, _, err := s.begin(t.Context()); !errors.Is(err, ErrBusy) || time.Since(started) != 0 {
			t.Error(err, time.Since(started))
		}
		for range 2 * waitingMost {
			if err := <-got; !errors.Is(err, ErrBusy) {
				t.Error(err)
			}
		}
		done()
		doneToo()
		if n := s.turns.waiting.Load(); n != 0 || len(s.turns.running) != 0 {
			t.Errorf("%d wait, %d run", n, len(s.turns.running))
		}
	})
}
