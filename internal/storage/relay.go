// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage/cacher/metrics"

	"github.com/kubembed/kubembed/internal/inprocess"
)

const (
	// relayLimit is the number of changes by which a client may be behind, and
	// inProcessLimit the number for clients in the process. Upstream gives room for 20 to
	// 2,000, depending on the changes before the watch began. The limits bound the memory
	// for a client that has stopped to read.
	relayLimit     = 1000
	inProcessLimit = 20 * relayLimit
	// stallTimeout is the time without a read after which a client ends that is more than
	// relayLimit events behind. Until then a relay has a copy of each object with which
	// the watch began.
	stallTimeout = 30 * time.Second
	// relayBuffer is the capacity of the channel of a relay. The handler of a watch
	// flushes when the channel is empty.
	relayBuffer = 100
)

// relayed reports whether the watches of a resource have a relay, which costs a goroutine
// for each watch. Watches of pods and nodes have been seen to end.
func relayed(resource schema.GroupResource) bool {
	return resource.Group == "" && (resource.Resource == "pods" || resource.Resource == "nodes")
}

// relay is a watch whose reader never delays the watch cache. The cache gives a watch
// room for a few events, waits for all full watches together for 50 ms a second, and then
// ends them. On a busy machine that ends watches whose goroutines only wait for a core,
// and starting them over makes the machine busier. A relay keeps the events instead, and
// ends a watch whose client is too far behind.
type relay struct {
	ctx      context.Context // of the client
	source   watch.Interface
	end      func() // ends the context of source
	resource schema.GroupResource
	limit    int // changes that wait
	result   chan watch.Event
	stop     func()
	stopped  chan struct{}
}

// relayWatch starts a watch with a relay. The context of start has the values and the
// deadline of ctx. It ends after the relay has read the watch to its end: the goroutine
// of a watch whose context ends stops to take events, for which the cache would wait.
func relayWatch(ctx context.Context, resource schema.GroupResource, start func(context.Context) (watch.Interface, error)) (watch.Interface, error) {
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	source := detached{Context: base}
	source.deadline, source.limited = ctx.Deadline()
	unfollow := context.AfterFunc(ctx, cancel) // while start waits
	watcher, err := start(source)
	unfollow()
	if err != nil {
		cancel()
		return nil, err
	}
	return newRelay(ctx, watcher, resource, cancel), nil
}

// detached is a context with a deadline that does not end it.
type detached struct {
	context.Context
	deadline time.Time
	limited  bool
}

func (d detached) Deadline() (time.Time, bool) { return d.deadline, d.limited }

func newRelay(ctx context.Context, source watch.Interface, resource schema.GroupResource, end func()) *relay {
	r := &relay{ctx: ctx, source: source, end: end, resource: resource, limit: relayLimit,
		result: make(chan watch.Event, relayBuffer), stopped: make(chan struct{})}
	if inprocess.Is(ctx) {
		r.limit = inProcessLimit
	}
	r.stop = sync.OnceFunc(func() {
		close(r.stopped)
		source.Stop()
	})
	go r.run()
	return r
}

func (r *relay) ResultChan() <-chan watch.Event { return r.result }

func (r *relay) Stop() { r.stop() }

// run passes events on until the source has ended and its events are delivered, until
// Stop or the end of the client's context, or until the reader is too far behind.
func (r *relay) run() {
	defer close(r.result)
	defer r.end()
	source := r.source.ResultChan()
	var waiting []watch.Event
	changes := 0 // in waiting
	read := false
	stalled := time.NewTimer(stallTimeout)
	defer stalled.Stop()
	var stall <-chan time.Time // not nil while more than relayLimit events wait
	for source != nil || len(waiting) > 0 {
		var result chan<- watch.Event // nil while there is nothing to send
		var next watch.Event
		if len(waiting) > 0 {
			result, next = r.result, waiting[0]
		}
		tooSlow := false
		select {
		case event, ok := <-source:
			if !ok {
				source = nil
				continue
			}
			waiting = append(waiting, event)
			if isChange(event) {
				changes++
			}
			tooSlow = changes > r.limit
			if stall == nil && len(waiting) > relayLimit {
				stalled.Reset(stallTimeout)
				stall, read = stalled.C, false
			}
		case result <- next:
			read = true
			waiting[0] = watch.Event{} // frees the object
			if waiting = waiting[1:]; len(waiting) == 0 {
				waiting = nil
			}
			if isChange(next) {
				changes--
			}
			if stall != nil && len(waiting) <= relayLimit {
				stalled.Stop()
				stall = nil
			}
		case <-stall:
			tooSlow = !read
			stalled.Reset(stallTimeout)
			read = false
		case <-r.ctx.Done():
			// Upstream's handler does not stop the watch of a request that it refuses.
			r.stop()
			drain(source)
			return
		case <-r.stopped:
			drain(source)
			return
		}
		if tooSlow {
			metrics.TerminatedWatchersCounter.WithLabelValues(r.resource.Group, r.resource.Resource).Inc()
			r.source.Stop()
			drain(source)
			return
		}
	}
}

// isChange reports whether an event may keep an object in memory that the watch cache has
// dropped.
func isChange(event watch.Event) bool {
	return event.Type == watch.Modified || event.Type == watch.Deleted
}

// drain reads a stopped watch to its end, unless it is nil, so that its goroutine does
// not wait for a reader.
func drain(events <-chan watch.Event) {
	if events == nil {
		return
	}
	for range events {
	}
}
