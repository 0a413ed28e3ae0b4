// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage/cacher/metrics"
	"k8s.io/component-base/metrics/testutil"

	"github.com/kubembed/kubembed/internal/inprocess"
)

// inProcess returns the context of a request in the process.
func inProcess(t *testing.T) (ctx context.Context) {
	t.Helper()
	transport := inprocess.NewTransport(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		ctx = context.WithoutCancel(r.Context())
	}))
	if _, err := transport.RoundTrip(httptest.NewRequest(http.MethodGet, "http://server/", nil)); err != nil {
		t.Fatal(err)
	}
	return ctx
}

// source is a watch like upstream's: unbuffered, and closed by its own goroutine.
type source struct {
	events  chan watch.Event
	stopped chan struct{}
}

func newSource() source { return source{make(chan watch.Event), make(chan struct{})} }

func (s source) ResultChan() <-chan watch.Event { return s.events }
func (s source) Stop()                          { close(s.stopped) }

// send sends events until Stop, and closes the watch.
func (s source) send(kind watch.EventType, events int) {
	defer close(s.events)
	for i := range events {
		object := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint(i)}}
		select {
		case s.events <- watch.Event{Type: kind, Object: object}:
		case <-s.stopped:
			return
		}
	}
}

// TestRelayWaitsForNoReader: all events are accepted before the first is read, and
// delivered in order after the end of the source.
func TestRelayWaitsForNoReader(t *testing.T) {
	for name, c := range map[string]struct {
		ctx  context.Context
		kind watch.EventType
	}{
		"changes, in the process": {inProcess(t), watch.Modified},
		"a long list":             {t.Context(), watch.Added},
	} {
		t.Run(name, func(t *testing.T) {
			const events = 10 * relayLimit
			source := newSource()
			r := newRelay(c.ctx, source, schema.GroupResource{}, func() {})
			source.send(c.kind, events)
			read := 0
			for e := range r.ResultChan() {
				if got := e.Object.(*metav1.PartialObjectMetadata).Name; e.Type != c.kind || got != fmt.Sprint(read) {
					t.Fatalf("event %d: got %s %s", read, e.Type, got)
				}
				read++
			}
			if read != events {
				t.Errorf("read %d events of %d", read, events)
			}
		})
	}
}

// TestRelayEndsASlowClient: a client that does not read is ended, and counted as upstream
// counts it. Changes that it has read do not count.
func TestRelayEndsASlowClient(t *testing.T) {
	metrics.Register()
	resource := schema.GroupResource{Resource: "of TestRelayEndsASlowClient"}
	for _, c := range []struct {
		ctx   context.Context
		limit int
	}{{t.Context(), relayLimit}, {inProcess(t), inProcessLimit}} {
		slow := newSource()
		r := newRelay(c.ctx, slow, resource, func() {})
		slow.send(watch.Modified, c.limit+2*relayBuffer)
		select {
		case <-slow.stopped:
		default:
			t.Fatalf("a client that does not read was not ended after %d changes", c.limit)
		}
		read := 0
		for range r.ResultChan() {
			read++
		}
		if read > relayBuffer {
			t.Errorf("read %d events of an ended watch", read)
		}
	}

	fast := newSource()
	r := newRelay(t.Context(), fast, resource, func() {})
	for i := range 10 * relayLimit {
		fast.events <- watch.Event{Type: watch.Modified, Object: &metav1.Status{}}
		if _, open := <-r.ResultChan(); !open {
			t.Fatalf("a client that reads was ended after %d events", i)
		}
	}
	close(fast.events)
	if got := ended(t, resource); got != 2 {
		t.Errorf("%v watches are counted as ended, want 2", got)
	}
}

// TestRelayStops: Stop ends a relay with unread events.
func TestRelayStops(t *testing.T) {
	source := newSource()
	r := newRelay(inProcess(t), source, schema.GroupResource{}, func() {})
	go source.send(watch.Added, 1<<40)
	<-r.ResultChan()
	r.Stop()
	r.Stop() // as often as a caller likes
	for range r.ResultChan() {
	}
}

// TestRelayEndsAStalledClient: a client that reads nothing does not keep the objects with
// which its watch began.
func TestRelayEndsAStalledClient(t *testing.T) {
	metrics.Register()
	synctest.Test(t, func(t *testing.T) {
		source := newSource()
		r := newRelay(t.Context(), source, schema.GroupResource{Resource: "of TestRelayEndsAStalledClient"}, func() {})
		go source.send(watch.Added, 5*relayLimit)
		// It reads, slowly, and then not.
		for range 3 {
			time.Sleep(stallTimeout / 2)
			<-r.ResultChan()
		}
		began := time.Now()
		synctest.Wait()
		read := 0
		time.Sleep(2*stallTimeout + time.Second)
		for range r.ResultChan() {
			read++
		}
		if read > relayBuffer {
			t.Errorf("read %d events %s after the last one, want the watch to have ended", read, time.Since(began))
		}
	})
}

// TestRelayEndsWithItsClient: the end of the client's context ends a watch that nobody
// stops, and the context of the watch only after that.
func TestRelayEndsWithItsClient(t *testing.T) {
	ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(time.Hour))
	source := newSource()
	var of context.Context
	r, err := relayWatch(ctx, schema.GroupResource{}, func(ctx context.Context) (watch.Interface, error) {
		of = ctx
		go func() {
			source.send(watch.Added, 10*relayBuffer)
			<-ctx.Done()
		}()
		return source, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want, _ := ctx.Deadline()
	if got, ok := of.Deadline(); !ok || !got.Equal(want) {
		t.Errorf("the deadline of the watch is %v, want %v", got, want)
	}
	<-r.ResultChan()
	if err := of.Err(); err != nil {
		t.Errorf("the context of the watch: %v", err)
	}
	cancel()
	<-of.Done()
	for range r.ResultChan() {
	}

	ctx, cancel = context.WithCancel(t.Context())
	if _, err = relayWatch(ctx, schema.GroupResource{}, func(ctx context.Context) (watch.Interface, error) {
		cancel()
		<-ctx.Done() // also while the watch starts
		return nil, ctx.Err()
	}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

// ended returns the number of watches of a resource that were ended.
func ended(t *testing.T, resource schema.GroupResource) float64 {
	t.Helper()
	value, err := testutil.GetCounterMetricValue(metrics.TerminatedWatchersCounter.WithLabelValues(resource.Group, resource.Resource))
	if err != nil {
		t.Fatal(err)
	}
	return value
}
