// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"context"
	"sync"

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
	source   watch.Interface
	resource schema.GroupResource
	limit    int // changes that wait
	result   chan watch.Event
	stop     func()
	stopped  chan struct{}
}

func newRelay(ctx context.Context, source watch.Interface, resource schema.GroupResource) *relay {
	r := &relay{source: source, resource: resource, limit: relayLimit, result: make(chan watch.Event, relayBuffer), stopped: make(chan struct{})}
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
// Stop, or until the reader is too far behind.
func (r *relay) run() {
	defer close(r.result)
	source := r.source.ResultChan()
	var waiting []watch.Event
	changes := 0 // in waiting
	for source != nil || len(waiting) > 0 {
		var result chan<- watch.Event // nil while there is nothing to send
		var next watch.Event
		if len(waiting) > 0 {
			result, next = r.result, waiting[0]
		}
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
			if changes > r.limit {
				metrics.TerminatedWatchersCounter.WithLabelValues(r.resource.Group, r.resource.Resource).Inc()
				r.source.Stop()
				drain(source)
				return
			}
		case result <- next:
			waiting[0] = watch.Event{} // frees the object
			if waiting = waiting[1:]; len(waiting) == 0 {
				waiting = nil
			}
			if isChange(next) {
				changes--
			}
		case <-r.stopped:
			if source != nil {
				drain(source)
			}
			return
		}
	}
}

// isChange reports whether an event may keep an object in memory that the watch cache has
// dropped. An event of an added object does so only if a change of it follows: the
// objects with which a watch begins take no memory.
func isChange(event watch.Event) bool {
	return event.Type == watch.Modified || event.Type == watch.Deleted
}

// drain reads a stopped watch to its end, so that its goroutine does not wait for a
// reader.
func drain(events <-chan watch.Event) {
	for range events {
	}
}
