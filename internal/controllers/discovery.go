// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"reflect"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"
)

const (
	// discoveryInterval is upstream's interval of discovery without a known change.
	discoveryInterval = 30 * time.Second
	// discoverySettleTime is the time after a change in which discovery is repeated until
	// it has the new API, and results are repeated.
	discoverySettleTime = 10 * time.Second
	discoveryPause      = time.Second

	// minDiscoveryPause is the pause before a discovery. A new API comes with several
	// changes, and discovery has it after the last one.
	minDiscoveryPause = 20 * time.Millisecond
	// discoveryShare is the least pause between two, in multiples of the time that one
	// takes: discovery must not slow down the installation of many APIs.
	discoveryShare = 5
)

// apiDiscovery discovers the APIs soon after they have changed, for all controllers.
type apiDiscovery struct {
	// discover returns the preferred resources, as of a discovery client.
	discover func() ([]*metav1.APIResourceList, error)
	// complete reports whether resources have all APIs that the API server has.
	complete func(resources []*metav1.APIResourceList) bool
	// prepare is called with resources before the controllers get them.
	prepare func(ctx context.Context, resources []*metav1.APIResourceList)

	mu         sync.Mutex
	changes    int
	discovered int // the number of changes that latest has; only run changes it
	lastChange time.Time
	changed    chan struct{} // closed by the next change
	latest     *apis
}

// apis are the result of a discovery.
type apis struct {
	resources []*metav1.APIResourceList
	err       error
	since     time.Time     // when the result before was another
	replaced  chan struct{} // closed by the next result
}

func newAPIDiscovery(initial []*metav1.APIResourceList) *apiDiscovery {
	return &apiDiscovery{
		changed: make(chan struct{}),
		latest:  &apis{resources: initial, since: time.Now(), replaced: make(chan struct{})},
	}
}

// notify records a change of the APIs.
func (d *apiDiscovery) notify() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.changes++
	d.lastChange = time.Now()
	close(d.changed)
	d.changed = make(chan struct{})
}

// state returns the number of changes, the time of the last one, and a channel that the
// next one closes.
func (d *apiDiscovery) state() (changes int, last time.Time, next <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.changes, d.lastChange, d.changed
}

// run discovers the APIs after each change, and every discoveryInterval, until ctx ends.
func (d *apiDiscovery) run(ctx context.Context) {
	var notBefore time.Time
	pause := minDiscoveryPause
	for {
		changes, _, next := d.state()
		if changes == d.discovered {
			sleep(ctx, discoveryInterval, next)
		}
		changes, last, _ := d.state()
		if changes != d.discovered {
			sleep(ctx, max(pause, time.Until(notBefore)), nil)
			changes, last, _ = d.state()
		}
		if ctx.Err() != nil {
			return
		}
		start := time.Now()
		resources, err := d.discover()
		notBefore = time.Now().Add(discoveryShare * time.Since(start))
		if len(resources) > 0 {
			d.prepare(ctx, resources)
		}
		progress := d.publish(resources, err)
		complete := d.complete(resources)
		if complete || time.Since(last) > discoverySettleTime {
			d.settle(changes)
		}
		if complete || progress {
			pause = minDiscoveryPause
		} else {
			pause = min(2*pause, discoveryPause)
		}
	}
}

// settle records that the latest result has a number of changes.
func (d *apiDiscovery) settle(changes int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.discovered = changes
}

// current returns the latest result, and whether it has all changes.
func (d *apiDiscovery) current() (latest *apis, current bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.latest, d.discovered == d.changes
}

// sleep returns after the pause, when early is closed, or when ctx ends.
func sleep(ctx context.Context, pause time.Duration, early <-chan struct{}) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-early:
	case <-ctx.Done():
	}
}

// publish makes resources the latest result. It reports whether they differ from those
// before.
func (d *apiDiscovery) publish(resources []*metav1.APIResourceList, err error) (differ bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	next := &apis{resources: resources, err: err, since: d.latest.since, replaced: make(chan struct{})}
	if differ = !reflect.DeepEqual(resources, d.latest.resources); differ {
		next.since = time.Now()
	}
	close(d.latest.replaced)
	d.latest = next
	return differ
}

// next returns the latest result when it is not known any more. It repeats a known result
// for some time, because callers try again by asking again: the garbage collector fails
// if its own discovery, some milliseconds later, has another result.
func (d *apiDiscovery) next(ctx context.Context, known *apis) *apis {
	for {
		d.mu.Lock()
		latest := d.latest
		d.mu.Unlock()
		if latest != known || ctx.Err() != nil {
			return latest
		}
		if time.Since(latest.since) > discoverySettleTime {
			select {
			case <-latest.replaced:
			case <-ctx.Done():
			}
			continue
		}
		sleep(ctx, discoveryPause, latest.replaced)
		select {
		case <-latest.replaced:
		default:
			return latest
		}
	}
}

// blockingDiscovery answers requests with the results of an apiDiscovery, and blocks
// until there is a new one. The loops of upstream that poll it can then have a short
// period. It is for one caller at a time.
type blockingDiscovery struct {
	discovery.DiscoveryInterface
	ctx   context.Context
	apis  *apiDiscovery
	known *apis // the last answer
}

// ServerPreferredResources is called by the garbage collector.
func (b *blockingDiscovery) ServerPreferredResources() ([]*metav1.APIResourceList, error) {
	b.known = b.apis.next(b.ctx, b.known)
	return b.known.resources, b.known.err
}

// ServerPreferredNamespacedResources is called by the quota controller.
func (b *blockingDiscovery) ServerPreferredNamespacedResources() ([]*metav1.APIResourceList, error) {
	all, err := b.ServerPreferredResources()
	return namespaced(all), err
}

func namespaced(all []*metav1.APIResourceList) []*metav1.APIResourceList {
	return discovery.FilteredBy(discovery.ResourcePredicateFunc(func(_ string, r *metav1.APIResource) bool { return r.Namespaced }), all)
}

// discover returns the result of the first discovery, which it retries until there is
// one. The result may lack aggregated APIs that are unavailable. Upstream's controllers
// handle that.
func (r *run) discover() ([]*metav1.APIResourceList, error) {
	if len(r.discovered) > 0 {
		return r.discovered, nil
	}
	var err error
	if wait.PollUntilContextCancel(r.ctx, discoveryPause, true, func(context.Context) (bool, error) {
		r.discovered, err = r.client.Discovery().ServerPreferredResources()
		return len(r.discovered) > 0, nil
	}) != nil {
		return nil, fmt.Errorf("discovery: %w: %w", context.Cause(r.ctx), err)
	}
	return r.discovered, nil
}
