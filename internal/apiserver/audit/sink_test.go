// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"k8s.io/apimachinery/pkg/types"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	"github.com/kubembed/kubembed/internal/lifecycle/leaks"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, leaks.Ignored()...) }

// runSink runs a sink until stop, and returns its log.
func runSink(t *testing.T, sink Sink) (backend *sinkBackend, stop func(), logs *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zapcore.WarnLevel)
	backend = newSinkBackend(sink, t.Name(), zap.New(core))
	drained := make(chan struct{})
	if err := backend.Run(drained); err != nil {
		t.Fatal(err)
	}
	return backend, func() { close(drained); backend.Shutdown() }, logs
}

func send(backend *sinkBackend, ids ...string) {
	for _, id := range ids {
		backend.ProcessEvents(&auditinternal.Event{AuditID: types.UID(id)})
	}
}

func names(events []auditv1.Event) (all []string) {
	for _, e := range events {
		all = append(all, string(e.AuditID))
	}
	return all
}

// metric returns the value of the counter of a sink.
func metric(t *testing.T, sink string) float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(Metrics{})
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.Metric {
			if m.Label[0].GetValue() == t.Name() && m.Label[1].GetValue() == sink {
				return m.Counter.GetValue()
			}
		}
	}
	return -1
}

// TestSlowSink: a sink that blocks does not hold requests. Events that its buffer does
// not take are counted, and logged once.
func TestSlowSink(t *testing.T) {
	entered, release := make(chan struct{}, 100), make(chan struct{})
	var got []string
	backend, stop, logs := runSink(t, Sink{Name: "slow", BufferSize: 3, MaxBatchSize: 1, MaxBatchWait: time.Hour, Events: func(_ context.Context, events []auditv1.Event) error {
		entered <- struct{}{}
		<-release
		got = append(got, names(events)...)
		return nil
	}})
	send(backend, "1")
	<-entered
	send(backend, "2", "3", "4", "5", "6")
	if n := metric(t, "slow"); n != 3 {
		t.Errorf("%v events are counted, want 3", n)
	}
	if n := logs.Len(); n != 1 {
		t.Errorf("the log has %d lines, want 1: %v", n, logs.All())
	}
	close(release)
	stop()
	if want := []string{"1", "2", "3"}; !slices.Equal(got, want) {
		t.Errorf("the sink has got %q, want %q", got, want)
	}
	last := logs.All()[logs.Len()-1].ContextMap()
	if last["sink"] != "slow" || last["total"] != int64(3) || !strings.Contains(fmt.Sprint(last["reason"]), "buffer is full") {
		t.Errorf("the last line has %v, want the sink, 3 events in all and the reason", last)
	}
	if n := metric(t, "slow"); n != -1 {
		t.Errorf("the metric of a stopped server is still there, with %v", n)
	}
}

// TestFailingSinks: errors, panics and Goexit of a sink lose the events of that call and
// no others.
func TestFailingSinks(t *testing.T) {
	for name, test := range map[string]struct {
		fail func() error
		want string
	}{
		"error":  {func() error { return errors.New("no room") }, "no room"},
		"panic":  {func() error { panic("broken") }, "it has panicked: broken"},
		"goexit": {func() error { runtime.Goexit(); return nil }, "ended its goroutine"},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			backend, stop, logs := runSink(t, Sink{Name: "bad", BufferSize: 10, MaxBatchSize: 1, Events: func(_ context.Context, events []auditv1.Event) error {
				if events[0].AuditID == "2" {
					return test.fail()
				}
				got = append(got, names(events)...)
				return nil
			}})
			send(backend, "1", "2", "3")
			stop()
			if want := []string{"1", "3"}; !slices.Equal(got, want) {
				t.Errorf("the sink has got %q, want %q", got, want)
			}
			if logs.Len() != 1 || !strings.Contains(fmt.Sprint(logs.All()[0].ContextMap()["reason"]), test.want) {
				t.Errorf("the log has %v, want one line with %q", logs.All(), test.want)
			}
		})
	}
}

// TestStopWithABlockedSink: the stop ends the context of the sink, and does not wait for
// a sink that ignores it. The events that it has not taken are counted.
func TestStopWithABlockedSink(t *testing.T) {
	for _, heeds := range []bool{true, false} {
		t.Run(fmt.Sprint("heeds the context: ", heeds), func(t *testing.T) {
			entered, release := make(chan struct{}), make(chan struct{})
			backend, stop, logs := runSink(t, Sink{Name: "blocked", BufferSize: 10, MaxBatchSize: 1, Events: func(ctx context.Context, _ []auditv1.Event) error {
				close(entered) // panics if it is called again
				<-ctx.Done()
				if !heeds {
					<-release
				}
				return ctx.Err()
			}})
			send(backend, "1", "2", "3")
			<-entered
			stop()
			if n := backend.delivery.drops.total.Load(); n != 3 {
				t.Errorf("%d events are counted, want 3", n)
			}
			if last := logs.All()[logs.Len()-1].ContextMap(); last["total"] != int64(3) {
				t.Errorf("the last line has %v, want 3 events in all", last)
			}
			close(release)
		})
	}
}

// TestEventsAfterTheStop: late events neither panic nor block.
func TestEventsAfterTheStop(t *testing.T) {
	backend, stop, _ := runSink(t, Sink{Name: "late", BufferSize: 10, MaxBatchSize: 1, Events: func(context.Context, []auditv1.Event) error { return nil }})
	stop()
	send(backend, "1")
}

// TestMetricsOfTwoServersOfOneName: their sum is collected, and not an error.
func TestMetricsOfTwoServersOfOneName(t *testing.T) {
	for range 2 {
		d := newDrops(t.Name(), "twice", zap.NewNop())
		d.publish()
		defer d.close()
		d.add(2, errSlow)
	}
	if n := metric(t, "twice"); n != 4 {
		t.Errorf("got %v events, want 4", n)
	}
	if problems, err := testutil.CollectAndLint(Metrics{}); err != nil || len(problems) > 0 {
		t.Errorf("the metric has problems: %v, %v", problems, err)
	}
}
