// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package containment ends a component instead of the process when one of its goroutines
// panics.
//
// Upstream's controllers, and all users of client-go's informers and work queues, start
// their own goroutines. Upstream recovers panics there, calls a list of handlers, and
// panics again. Our handler in that list ends the goroutine before the second panic. It
// finds the component by the logger that we gave to upstream. Event handlers have no
// logger. There it uses the profiler label, which a goroutine inherits from its parent.
package containment

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"strconv"
	"sync"

	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/klog/v2"

	"github.com/kubembed/kubembed/internal/callstack"
	"github.com/kubembed/kubembed/internal/lifecycle"
)

// Error reports a panic of a part of the process. Upstream has logged the stack.
type Error struct {
	// Part is the part that panicked, or empty if it is unknown.
	Part  string
	Value any
	// Stack is the stack of the panic if Call has recovered it, and nil otherwise.
	Stack []byte
}

func (e *Error) Error() string {
	if e.Part == "" {
		return fmt.Sprintf("panicked: %v", e.Value)
	}
	return fmt.Sprintf("%s panicked: %v", e.Part, e.Value)
}

// Cause returns the panic or fatal error that has ended ctx, or nil.
func Cause(ctx context.Context) error {
	cause := context.Cause(ctx)
	if failure := (*Error)(nil); errors.As(cause, &failure) {
		return failure
	}
	if fatal := (*Fatal)(nil); errors.As(cause, &fatal) {
		return fatal
	}
	return nil
}

// Call calls f. It returns panics, and upstream's fatal errors, as errors.
func Call[T any](part string, f func() (T, error)) (result T, err error) {
	defer func() {
		switch value := recover().(type) {
		case nil:
		case *Fatal:
			err = fmt.Errorf("%s: %w", part, value)
		default:
			err = &Error{Part: part, Value: value, Stack: debug.Stack()}
		}
	}()
	return f()
}

// Sink is a logr.LogSink that knows the component of its goroutines.
type Sink interface {
	// Panicked ends the component of the goroutine.
	Panicked(value any)
}

// Do calls f. If a goroutine that starts in f panics, only that goroutine ends, and fail
// is called, until forget is called. For nested calls of Do, the inner one counts.
func Do(ctx context.Context, fail func(error), f func(context.Context)) (forget func()) {
	id := parts.add(fail)
	pprof.Do(ctx, pprof.Labels(label, id), f)
	return func() { parts.remove(id) }
}

// The list has no lock, so it is changed before anything runs. Other callers see no
// difference.
func init() {
	utilruntime.PanicHandlers = append(utilruntime.PanicHandlers, contain)
}

// contain ends the goroutine of a part, and the part, instead of the process.
func contain(ctx context.Context, value any) {
	if sink, ok := klog.FromContext(ctx).GetSink().(Sink); ok {
		sink.Panicked(value)
		runtime.Goexit()
	}
	// Clients make thousands of requests panic: they reset streams, and let answers time
	// out. Each panic must cost no more than this.
	if inRequest() {
		return
	}
	if fail := parts.failOfCaller(); fail != nil {
		fail(&Error{Value: value})
		runtime.Goexit()
	}
}

// inRequest reports whether this goroutine serves a request. In-process requests carry
// the label of the client, but the API server handles their panics.
func inRequest() bool { return callstack.HasPrefix("k8s.io/apiserver/") }

// label is the profiler label of a part's goroutines.
const label = "kubembed-component"

// parts are the parts of this process.
var parts = registry{fail: map[string]func(error){}, sets: map[*lifecycle.GoroutineSet]func(error){}}

type registry struct {
	mu     sync.Mutex
	lastID int
	fail   map[string]func(error)
	// sets are the goroutine sets of Watch.
	sets map[*lifecycle.GoroutineSet]func(error)
}

func (r *registry) add(fail func(error)) (id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lastID++
	id = strconv.Itoa(r.lastID)
	r.fail[id] = fail
	return id
}

func (r *registry) remove(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.fail, id)
}

func (r *registry) addSet(set *lifecycle.GoroutineSet, fail func(error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sets[set] = fail
}

func (r *registry) removeSet(set *lifecycle.GoroutineSet) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.sets, set)
}

// failOfCaller returns the function that ends the part of this goroutine, or nil.
func (r *registry) failOfCaller() func(error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.fail) == 0 && len(r.sets) == 0 {
		return nil
	}
	labels := callerLabels()
	if fail := r.fail[labels[label]]; fail != nil {
		return fail
	}
	for set, fail := range r.sets {
		if set.Has(labels) {
			return fail
		}
	}
	return nil
}

// callerLabelsName is the symbol by which callerLabels finds itself.
const callerLabelsName = "github.com/kubembed/kubembed/internal/containment.callerLabels"

// callerLabels returns the profiler labels of the calling goroutine. It finds itself in
// the goroutine profile, the only place where labels can be read. Only one goroutine at a
// time may call it.
//
//go:noinline
func callerLabels() map[string]string {
	all, err := lifecycle.AllGoroutines()
	if err != nil {
		return nil
	}
	for _, g := range all {
		if slices.Contains(g.Stack, callerLabelsName) {
			return g.Labels
		}
	}
	return nil
}
