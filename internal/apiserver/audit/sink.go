// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	upstream "k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/plugin/pkg/audit/buffered"
)

// Sink is a function of the host that receives audit events.
type Sink struct {
	Name   string
	Events func(context.Context, []auditv1.Event) error
	// BufferSize is the number of events that wait for the function or are in it.
	BufferSize   int
	MaxBatchSize int
	MaxBatchWait time.Duration
}

var (
	errSlow    = errors.New("its buffer is full, because it is slower than the requests")
	errStopped = errors.New("it has not taken them before the server stopped")
	errGoexit  = errors.New("it has ended its goroutine")
)

// sinkBackend is upstream's buffered backend in front of a sink. It counts the waiting
// events itself, so that upstream's buffer is never full: upstream writes a line to its
// log for each event that it drops, and does not name the sink.
type sinkBackend struct {
	upstream.Backend
	delivery *delivery
}

func newSinkBackend(sink Sink, server string, logger *zap.Logger) *sinkBackend {
	d := &delivery{sink: sink, abandoned: make(chan struct{}), drops: newDrops(server, sink.Name, logger)}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	return &sinkBackend{delivery: d, Backend: buffered.NewBackend(d, buffered.BatchConfig{
		BufferSize: sink.BufferSize, MaxBatchSize: sink.MaxBatchSize, MaxBatchWait: sink.MaxBatchWait,
	})}
}

// ProcessEvents never blocks. It returns true: a request does not fail for a sink.
func (s *sinkBackend) ProcessEvents(events ...*auditinternal.Event) bool {
	d := s.delivery
	for _, event := range events {
		if d.waiting.Add(1) > int64(d.sink.BufferSize) {
			d.waiting.Add(-1)
			d.drops.add(1, errSlow)
			continue
		}
		s.Backend.ProcessEvents(event)
	}
	return true
}

func (s *sinkBackend) Run(stop <-chan struct{}) error {
	s.delivery.drops.publish()
	return s.Backend.Run(stop)
}

// Shutdown waits until the sink has taken the last events. After flushTimeout the context
// of the sink ends, and after flushGrace the sink is abandoned.
func (s *sinkBackend) Shutdown() {
	d := s.delivery
	defer d.cancel()
	defer d.drops.close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Backend.Shutdown()
	}()
	if finished(done, flushTimeout) {
		return
	}
	d.cancel()
	if finished(done, flushGrace) {
		return
	}
	close(d.abandoned)
	<-done
}

// delivery is the backend that calls a sink.
type delivery struct {
	sink      Sink
	ctx       context.Context
	cancel    context.CancelFunc
	abandoned chan struct{} // closed when the stop does not wait any longer
	waiting   atomic.Int64  // events in the buffer and in the sink
	drops     *drops
}

func (d *delivery) ProcessEvents(events ...*auditinternal.Event) bool {
	defer d.waiting.Add(-int64(len(events)))
	err := d.call(events)
	if err != nil {
		d.drops.add(len(events), err)
	}
	return err == nil
}

// call calls the sink in a goroutine that can be abandoned, and returns panics as errors.
func (d *delivery) call(events []*auditinternal.Event) error {
	if d.ctx.Err() != nil {
		return errStopped
	}
	list, err := external(events)
	if err != nil {
		return err
	}
	result := make(chan error, 1)
	go func() {
		err := errGoexit
		defer func() { result <- err }()
		defer func() {
			if panicked := recover(); panicked != nil {
				err = fmt.Errorf("it has panicked: %v\n%s", panicked, debug.Stack())
			}
		}()
		err = d.sink.Events(d.ctx, list)
	}()
	select {
	case err := <-result:
		return err
	case <-d.abandoned:
		return errStopped
	}
}

// external converts events, which belong to the buffer and not to the requests any more.
func external(events []*auditinternal.Event) ([]auditv1.Event, error) {
	list := make([]auditv1.Event, len(events))
	for i, event := range events {
		if err := auditv1.Convert_audit_Event_To_v1_Event(event, &list[i], nil); err != nil {
			return nil, err
		}
		list[i].APIVersion, list[i].Kind = auditv1.SchemeGroupVersion.String(), "Event"
	}
	return list, nil
}

func (d *delivery) Run(<-chan struct{}) error { return nil }

func (d *delivery) Shutdown() {}

func (d *delivery) String() string { return "sink " + d.sink.Name }
