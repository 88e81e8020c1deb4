package query

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/whosehop/whosehop/ownership"
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

// TestEveryTextIsBounded: whatever a question asks for may have so many bytes and no more, and who sends more reads of which
// parameter. Here each text of each question is as long as it may be, and then longer by one.
func TestEveryTextIsBounded(t *testing.T) {
	owners := new(ownership.Current)
	s := New(nil, nil, owners, nil)
	s.LimitQuestions(1)
	s.turns.running <- struct{}{} // what is not refused for its texts goes no further
	s.turns.waiting.Store(waitingMost)
	long, longer := strings.Repeat("x", textBytesMax), strings.Repeat("x", textBytesMax+1)
	own := []string{"Author", "Why"} // those of a review have bounds of their own
	asked := make(map[string]bool)
	for method, value := range reflect.ValueOf(s).Methods() {
		kind := value.Type()
		if last := kind.NumOut() - 1; last < 0 || kind.Out(last) != reflect.TypeFor[error]() || method.Name == "ApplyOwners" {
			continue
		}
		args := make([]reflect.Value, kind.NumIn())
		for i := range args {
			args[i] = reflect.New(kind.In(i)).Elem()
			if kind.In(i) == reflect.TypeFor[context.Context]() {
				args[i].Set(reflect.ValueOf(t.Context()))
			}
		}
		refused := func() *Fault {
			results := value.Call(args)
			err, _ := results[len(results)-1].Interface().(error)
			var fault *Fault
			if !errors.As(err, &fault) || !strings.Contains(err.Error(), "bytes, more than 4096") {
				return nil
			}
			return fault
		}
		for i, arg := range args {
			for name, set := range textsWithin(fmt.Sprint(i), arg) {
				if slices.Contains(own, name) {
					continue
				}
				set(long)
				if fault := refused(); fault != nil {
					t.Errorf("%s, %s: %v", method.Name, name, fault)
				}
				set(longer)
				fault := refused()
				if fault == nil {
					t.Errorf("%s: %s may have %d bytes; give it to s.begin", method.Name, name, len(longer))
				} else if name, _, _ = strings.Cut(name, " "); !strings.EqualFold(fault.Parameter, name) && arg.Kind() == reflect.Struct {
					t.Errorf("%s: %s is named %s", method.Name, name, fault.Parameter)
				}
				set("")
				asked[method.Name] = true
			}
		}
	}
	if len(asked) < 14 {
		t.Errorf("only %d questions were asked: %v", len(asked), asked)
	}
}

// textsWithin are the texts of an argument by name, each with what sets it.
func textsWithin(name string, v reflect.Value) map[string]func(string) {
	all := make(map[string]func(string))
	switch v.Kind() {
	case reflect.String:
		all[name] = v.SetString
	case reflect.Map:
		if v.Type() == reflect.TypeFor[map[string]string]() {
			name = strings.TrimSuffix(name, "s")
			all[name] = func(text string) { v.Set(reflect.ValueOf(map[string]string{"key": text})) }
			all[name+" key"] = func(text string) { v.Set(reflect.ValueOf(map[string]string{text: ""})) }
		}
	case reflect.Struct:
		for field, value := range v.Fields() {
			if field.IsExported() {
				maps.Copy(all, textsWithin(field.Name, value))
			}
		}
	}
	return all
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
