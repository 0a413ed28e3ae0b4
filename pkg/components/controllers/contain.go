package controllers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"

	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/klog/v2"
)

// panicError is that a controller has panicked. Upstream has logged the stack.
type panicError struct {
	controller string
	value      any
}

func (e *panicError) Error() string { return fmt.Sprintf("%s panicked: %v", e.controller, e.value) }

// panicked is the panic that has ended ctx, if one has.
func panicked(ctx context.Context) error {
	if failure := (*panicError)(nil); errors.As(context.Cause(ctx), &failure) {
		return failure
	}
	return nil
}

// contained calls f, and makes an error of a panic.
func contained[T any](name string, f func() (T, error)) (result T, err error) {
	defer func() {
		if value := recover(); value != nil {
			err = &panicError{name, value}
		}
	}()
	return f()
}

// Controllers work in goroutines that they start themselves. Upstream recovers
// panics there, to call the handlers in this list, and then panics again, which
// ends the process. The list has no lock, so that it is changed before anything
// runs. For every other caller all is as before.
func init() {
	utilruntime.PanicHandlers = append(utilruntime.PanicHandlers, contain)
}

// contain ends the goroutine of a controller, and its run, in place of the
// process. Whose goroutine it is, the logger tells that upstream had from us.
// Where there is none, which is in event handlers, it is the profiler's label,
// which a goroutine inherits from the one that starts it.
func contain(ctx context.Context, value any) {
	if s, ok := klog.FromContext(ctx).GetSink().(sink); ok {
		s.fail(&panicError{s.name, value})
		runtime.Goexit()
	}
	if fail := runs.ofThisGoroutine(); fail != nil {
		fail(&panicError{unnamed, value})
		runtime.Goexit()
	}
}

// unnamed is a controller of which it is not known which one it is.
const unnamed = "a controller"

// runLabel is the profiler label of a run's goroutines.
const runLabel = "kubembed-controllers"

// runs are the runs of this process.
var runs = registry{fail: map[string]context.CancelCauseFunc{}}

type registry struct {
	mu   sync.Mutex
	last int
	fail map[string]context.CancelCauseFunc
}

// do calls f as a run, whose goroutines end with fail if one of them panics, until
// forget is called.
func (r *registry) do(ctx context.Context, fail context.CancelCauseFunc, f func(context.Context)) (forget func()) {
	r.mu.Lock()
	r.last++
	id := strconv.Itoa(r.last)
	r.fail[id] = fail
	r.mu.Unlock()
	pprof.Do(ctx, pprof.Labels(runLabel, id), f)
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.fail, id)
	}
}

// ofThisGoroutine is how to end the run that this goroutine belongs to, or nil.
func (r *registry) ofThisGoroutine() context.CancelCauseFunc {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.fail) == 0 {
		return nil
	}
	return r.fail[labelOfTheOneThatLooks()]
}

// labelOfTheOneThatLooks finds itself in the goroutine profile, which is the one
// place where labels can be read: see lifecycle.Family about its form. It is called
// by one goroutine at a time.
func labelOfTheOneThatLooks() string {
	var profile bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
		return ""
	}
	for record := range strings.SplitSeq(profile.String(), "\n\n") {
		if !strings.Contains(record, ".labelOfTheOneThatLooks+") {
			continue
		}
		// A request in this process is answered in a goroutine that has the
		// client's label. Its panics are the API server's to handle.
		if strings.Contains(record, "k8s.io/apiserver/") {
			return ""
		}
		_, label, _ := strings.Cut(record, strconv.Quote(runLabel)+":\"")
		id, _, _ := strings.Cut(label, `"`)
		return id
	}
	return ""
}
