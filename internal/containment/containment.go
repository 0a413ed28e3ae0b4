// Package containment keeps a panic in a goroutine of a component from ending the
// process: it ends the component instead.
//
// Upstream's controllers, and whatever is made of client-go's informers and work
// queues, work in goroutines that they start themselves. Upstream recovers panics
// there, to call the handlers in a list, and then panics again. A handler of ours
// in that list ends the goroutine before that. Whose goroutine it is, the logger
// tells that upstream had from us. Where there is none, which is in event
// handlers, it is the profiler's label, which a goroutine inherits from the one
// that starts it.
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
	"strings"
	"sync"

	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/klog/v2"

	"github.com/kubembed/kubembed/internal/lifecycle"
)

// Error is that a part of the process has panicked. Upstream has logged the stack.
type Error struct {
	// Part is what panicked, or empty where that is not known.
	Part  string
	Value any
	// Stack is that of the panic if Call has recovered it, and nil otherwise.
	Stack []byte
}

func (e *Error) Error() string {
	if e.Part == "" {
		return fmt.Sprintf("panicked: %v", e.Value)
	}
	return fmt.Sprintf("%s panicked: %v", e.Part, e.Value)
}

// Cause is the panic or fatal error that has ended ctx, if one has.
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

// Call calls f, and makes an error of a panic, and of what upstream would end the
// process for.
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

// Sink is a logr.LogSink that knows whose goroutine logs with it.
type Sink interface {
	// Panicked ends whatever the goroutine belongs to.
	Panicked(value any)
}

// Do calls f. A goroutine that begins in it and panics ends alone, and fail is
// called, until forget is. In a call of Do within f the inner one counts.
func Do(ctx context.Context, fail func(error), f func(context.Context)) (forget func()) {
	id := parts.add(fail)
	pprof.Do(ctx, pprof.Labels(label, id), f)
	return func() { parts.remove(id) }
}

// The list has no lock, so that it is changed before anything runs. For every
// other caller all is as before.
func init() {
	utilruntime.PanicHandlers = append(utilruntime.PanicHandlers, contain)
}

// contain ends the goroutine of a part, and the part, in place of the process.
func contain(ctx context.Context, value any) {
	if sink, ok := klog.FromContext(ctx).GetSink().(Sink); ok {
		sink.Panicked(value)
		runtime.Goexit()
	}
	// Clients make requests panic, by the thousand: they reset streams, and let answers
	// time out. Each must cost no more than this.
	if inRequest() {
		return
	}
	if fail := parts.failOfCaller(); fail != nil {
		fail(&Error{Value: value})
		runtime.Goexit()
	}
}

// inRequest reports whether this goroutine answers a request. Within this process it has
// the label of the client, but its panics are the API server's to handle.
func inRequest() bool {
	pcs := make([]uintptr, 512)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(1, pcs)])
	for {
		frame, more := frames.Next()
		if strings.HasPrefix(frame.Function, "k8s.io/apiserver/") {
			return true
		}
		if !more {
			return false
		}
	}
}

// label is the profiler label of a part's goroutines.
const label = "kubembed-component"

// parts are those of this process.
var parts = registry{fail: map[string]func(error){}, sets: map[*lifecycle.GoroutineSet]func(error){}}

type registry struct {
	mu     sync.Mutex
	lastID int
	fail   map[string]func(error)
	// families are those of Watch.
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

// failOfCaller is how to end the part that this goroutine belongs to, or nil.
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

// callerLabelsName is what callerLabels finds itself by.
const callerLabelsName = "github.com/kubembed/kubembed/internal/containment.callerLabels"

// callerLabels finds itself in the goroutine profile, which is the only
// place where labels can be read. It is called by one goroutine at a time.
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
