// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"context"
	"errors"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/warning"

	"github.com/kubembed/kubembed/internal/hostcall"
)

// hostile is a plugin that mutates, in the way of a function.
type hostile func(context.Context) error

func (hostile) Handles(admission.Operation) bool { return true }
func (h hostile) Admit(ctx context.Context, _ admission.Attributes, _ admission.ObjectInterfaces) error {
	return h(ctx)
}

// unhandled panics in Handles.
type unhandled struct{ hostile }

func (unhandled) Handles(admission.Operation) bool { panic("no idea") }

// hesitant blocks in Handles.
type hesitant struct {
	hostile
	release chan struct{}
}

func (h hesitant) Handles(admission.Operation) bool { <-h.release; return true }

// leaving ends its goroutine in Handles.
type leaving struct{ hostile }

func (leaving) Handles(admission.Operation) bool { runtime.Goexit(); return false }

// validator also validates.
type validator struct{ hostile }

func (v validator) Validate(ctx context.Context, _ admission.Attributes, _ admission.ObjectInterfaces) error {
	return v.hostile(ctx)
}

const hostName = "example.com/Hostile"

// contain returns a chain with the plugin.
func contain(plugin admission.Interface, calls *Calls, log *zap.Logger) admission.MutationInterface {
	c := &Contain{Plugins: map[string]bool{hostName: true}, Ready: func() bool { return true }, Calls: calls, Timeout: time.Minute, Logger: log}
	return admission.NewChainHandler(c.Decorate(plugin, hostName))
}

func attributes(who string) admission.Attributes {
	info := &user.DefaultInfo{Name: who, Groups: []string{user.SystemPrivilegedGroup}}
	return admission.NewAttributesRecord(nil, nil, schema.GroupVersionKind{}, "default", "any", schema.GroupVersionResource{Version: "v1", Resource: "pods"}, "",
		admission.Create, &metav1.CreateOptions{}, false, info)
}

// warnings counts warnings.
type warnings struct{ texts []string }

func (w *warnings) AddWarning(_, text string) { w.texts = append(w.texts, text) }

func TestContainedCall(t *testing.T) {
	refusal := apierrors.NewConflict(schema.GroupResource{Resource: "pods"}, "any", errors.New("refused"))
	for _, c := range []struct {
		name   string
		plugin admission.Interface
		code   int // 0 for success
		text   string
		logged string
	}{
		{"success", hostile(func(context.Context) error { return nil }), 0, "", ""},
		{"refusal", hostile(func(context.Context) error { return refusal }), http.StatusConflict, "refused", ""},
		{"panic", hostile(func(context.Context) error { panic("secret") }), http.StatusInternalServerError, `admission plugin "example.com/Hostile" panicked`, "secret"},
		{"panic with nil", hostile(func(context.Context) error { panic(nil) }), http.StatusInternalServerError, `admission plugin "example.com/Hostile" panicked`, "nil"},
		{"Goexit", hostile(func(context.Context) error { runtime.Goexit(); return nil }), http.StatusInternalServerError, `admission plugin "example.com/Hostile" ended its goroutine`, "ended its goroutine"},
		{"panic in Handles", unhandled{hostile(func(context.Context) error { return nil })}, http.StatusInternalServerError, `admission plugin "example.com/Hostile" panicked`, "no idea"},
		{"Goexit in Handles", leaving{hostile(func(context.Context) error { return nil })}, http.StatusInternalServerError, `admission plugin "example.com/Hostile" ended its goroutine`, "ended its goroutine"},
		{"ends with its context", hostile(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }), http.StatusGatewayTimeout, `admission plugin "example.com/Hostile"`, ""},
		{"refusal after its context", hostile(func(ctx context.Context) error { <-ctx.Done(); return refusal }), http.StatusConflict, "refused", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				core, logs := observer.New(zap.DebugLevel)
				var calls Calls
				err := contain(c.plugin, &calls, zap.New(core)).Admit(t.Context(), attributes("jane"), nil)
				if c.code == 0 && err != nil || c.code != 0 && (err == nil || !strings.Contains(err.Error(), c.text)) {
					t.Fatalf("got error %v, want %q", err, c.text)
				}
				if status := apierrors.APIStatus(nil); c.code != 0 && (!errors.As(err, &status) || int(status.Status().Code) != c.code) {
					t.Errorf("got %v, want HTTP %d", err, c.code)
				}
				if err != nil && strings.Contains(err.Error(), "secret") {
					t.Errorf("the client gets what only the log should have: %v", err)
				}
				if err := calls.Wait(t.Context()); err != nil {
					t.Errorf("the call has not ended: %v", err)
				}
				var text string
				for _, entry := range logs.All() {
					text += entry.Message
					for _, value := range entry.ContextMap() {
						if s, ok := value.(string); ok {
							text += s
						} else if err, ok := value.(error); ok {
							text += err.Error()
						}
					}
				}
				if !strings.Contains(text, c.logged) {
					t.Errorf("%q is not in the log: %s", c.logged, text)
				}
			})
		})
	}
}

// TestOverdueCall: a plugin that ignores its context does not keep the request, which
// fails before its own timeout. A stop names the plugin until it returns. Warnings after
// the request do not reach the response.
func TestOverdueCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var seen warnings
		ctx, cancel := context.WithTimeout(warning.WithWarningRecorder(t.Context(), &seen), 30*time.Second)
		defer cancel()
		var calls Calls
		start := time.Now()
		err := contain(hostile(func(ctx context.Context) error {
			warning.AddWarning(ctx, "", "in time")
			<-release
			warning.AddWarning(ctx, "", "late")
			return nil
		}), &calls, zap.NewNop()).Admit(ctx, attributes("jane"), nil)
		if !apierrors.IsTimeout(err) || !strings.Contains(err.Error(), hostName) {
			t.Errorf("got %v, want a timeout of %s", err, hostName)
		}
		if took := time.Since(start); took != 29500*time.Millisecond {
			t.Errorf("it took %s, want half a second less than the request has", took)
		}
		stop, cancelStop := context.WithTimeout(t.Context(), time.Second)
		defer cancelStop()
		if err := calls.Wait(stop); err == nil || !strings.Contains(err.Error(), hostName) {
			t.Errorf("stop: got %v, want the name of the plugin", err)
		}
		close(release)
		if err := calls.Wait(t.Context()); err != nil {
			t.Error(err)
		}
		if len(seen.texts) != 1 || seen.texts[0] != "in time" {
			t.Errorf("got warnings %q, want only the one in time", seen.texts)
		}
		if len(calls.overdue) != 0 {
			t.Errorf("got overdue calls %v, want none", calls.overdue)
		}
	})
}

// TestOverdueHandles: a request does not wait longer for a plugin that blocks in Handles,
// and its failure names the plugin. Writes of the server itself do not fail.
func TestOverdueHandles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ready := true
		plugin := hesitant{hostile(func(context.Context) error { return nil }), make(chan struct{})}
		var calls Calls
		c := &Contain{Plugins: map[string]bool{hostName: true}, Ready: func() bool { return ready }, Calls: &calls, Timeout: time.Minute, Logger: zap.NewNop()}
		chain := admission.NewChainHandler(c.Decorate(plugin, hostName))
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if err := chain.Admit(ctx, attributes("jane"), nil); ctx.Err() != nil || !apierrors.IsTimeout(err) || !strings.Contains(err.Error(), `admission plugin "example.com/Hostile" has not returned within`) {
			t.Errorf("got %v (the request: %v), want a timeout with the name before the request ends", err, ctx.Err())
		}
		ready = false
		if err := chain.Admit(t.Context(), attributes(user.APIServerUser), nil); err != nil {
			t.Errorf("a write of the server: %v", err)
		}
		stop, cancelStop := context.WithTimeout(t.Context(), time.Second)
		defer cancelStop()
		if err := calls.Wait(stop); err == nil || !strings.Contains(err.Error(), hostName) {
			t.Errorf("stop: got %v, want the name of the plugin", err)
		}
		close(plugin.release)
		if err := calls.Wait(t.Context()); err != nil {
			t.Error(err)
		}
		if len(calls.overdue) != 0 {
			t.Errorf("got overdue calls %v, want none", calls.overdue)
		}
	})
}

// TestCallWithoutDeadline: an exec has no deadline of its own.
func TestCallWithoutDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls Calls
		start := time.Now()
		err := contain(hostile(func(ctx context.Context) error { <-ctx.Done(); return nil }), &calls, zap.NewNop()).Admit(t.Context(), attributes("jane"), nil)
		if took := time.Since(start); took != 59*time.Second {
			t.Errorf("it took %s, want a second less than a minute: %v", took, err)
		}
	})
}

// TestCallOfACanceledRequest: the request does not wait for the plugin.
func TestCallOfACanceledRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		var calls Calls
		err := contain(hostile(func(context.Context) error { <-release; return nil }), &calls, zap.NewNop()).Admit(ctx, attributes("jane"), nil)
		if !apierrors.IsTimeout(err) {
			t.Errorf("got %v, want a timeout", err)
		}
		close(release)
		if err := calls.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestCallsAfterTheStop(t *testing.T) {
	var calls Calls
	if err := calls.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	err := contain(hostile(func(context.Context) error { return nil }), &calls, zap.NewNop()).Admit(t.Context(), attributes("jane"), nil)
	if !apierrors.IsServiceUnavailable(err) {
		t.Errorf("got %v, want 503", err)
	}
}

// TestContainKeepsThePhases: upstream finds out by the methods what a plugin does.
func TestContainKeepsThePhases(t *testing.T) {
	c := &Contain{Plugins: map[string]bool{hostName: true}}
	mutator := hostile(func(context.Context) error { return nil })
	if _, validates := c.Decorate(mutator, hostName).(admission.ValidationInterface); validates {
		t.Error("a plugin that only mutates also validates")
	}
	both := c.Decorate(validator{mutator}, hostName)
	_, mutates := both.(admission.MutationInterface)
	_, validates := both.(admission.ValidationInterface)
	if !mutates || !validates {
		t.Errorf("a plugin with both methods: mutates %v, validates %v", mutates, validates)
	}
	if got, ok := c.Decorate(validator{mutator}, "Other").(validator); !ok {
		t.Errorf("a plugin of upstream: got %T, want the plugin itself", got)
	}
}

// TestHostPluginsAndOwnWrites: a plugin that refuses everything cannot prevent a start.
func TestHostPluginsAndOwnWrites(t *testing.T) {
	ready, called := false, false
	c := &Contain{Plugins: map[string]bool{hostName: true}, Ready: func() bool { return ready }, Calls: &Calls{}, Timeout: time.Minute, Logger: zap.NewNop()}
	chain := admission.NewChainHandler(c.Decorate(hostile(func(context.Context) error { called = true; return nil }), hostName))
	for _, want := range []bool{false, true} {
		ready, called = want, false
		if err := chain.Admit(t.Context(), attributes(user.APIServerUser), nil); err != nil {
			t.Fatal(err)
		}
		if called != want {
			t.Errorf("ready is %v: called is %v", ready, called)
		}
	}
}

// TestBlockedPluginIsBounded verifies that clients cannot add goroutines without end to a
// plugin that does not return.
func TestBlockedPluginIsBounded(t *testing.T) {
	blocked := make(chan struct{})
	calls := &Calls{}
	plugin := contain(hostile(func(context.Context) error { <-blocked; return nil }), calls, zap.NewNop())
	gone, leave := context.WithCancel(t.Context())
	leave()
	for range hostcall.Max {
		if err := plugin.Admit(gone, attributes("jane"), nil); err == nil || apierrors.IsServiceUnavailable(err) {
			t.Fatal(err)
		}
	}
	err := plugin.Admit(gone, attributes("jane"), nil)
	if !apierrors.IsServiceUnavailable(err) || !strings.Contains(err.Error(), `admission plugin "example.com/Hostile" is blocked`) {
		t.Errorf("got %v, want 503 with the name", err)
	}
	close(blocked)
	if err := calls.Wait(t.Context()); err != nil {
		t.Error(err)
	}
}
