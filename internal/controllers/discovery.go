package controllers

import (
	"context"
	"fmt"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"
)

const (
	// discoverEvery is how often the controllers of all kinds ask what the kinds
	// are when nothing tells them that those have changed. It is upstream's.
	discoverEvery = 30 * time.Second
	// settle is how long after a change they ask every discoverPause: discovery
	// tells of a new API some time after it was defined.
	settle        = 10 * time.Second
	discoverPause = time.Second
)

// changes tells those who wait that the APIs have changed.
type changes struct {
	mu   sync.Mutex
	last time.Time
	next chan struct{} // closed by the next change
}

func (c *changes) notify() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = time.Now()
	if c.next != nil {
		close(c.next)
		c.next = nil
	}
}

// wait returns when it is time to ask again, or ctx ends.
func (c *changes) wait(ctx context.Context) {
	c.mu.Lock()
	if time.Since(c.last) < settle {
		c.mu.Unlock()
		return
	}
	if c.next == nil {
		c.next = make(chan struct{})
	}
	next := c.next
	c.mu.Unlock()
	timer := time.NewTimer(discoverEvery)
	defer timer.Stop()
	select {
	case <-next:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// patient answers the first question with what is known, and every other when
// the answer may be another. The loops of upstream that ask can then have a
// short pause. It is for one caller at a time.
type patient struct {
	discovery.DiscoveryInterface
	ctx     context.Context
	changes *changes
	asked   bool
	last    []*metav1.APIResourceList
	lastErr error
}

func (r *run) patient(ctx context.Context, changes *changes, first []*metav1.APIResourceList) *patient {
	return &patient{DiscoveryInterface: r.client.Discovery(), ctx: ctx, changes: changes, last: first}
}

// ServerPreferredResources is what the garbage collector asks.
func (p *patient) ServerPreferredResources() ([]*metav1.APIResourceList, error) {
	if p.asked {
		p.changes.wait(p.ctx)
		if p.ctx.Err() == nil {
			p.last, p.lastErr = p.DiscoveryInterface.ServerPreferredResources()
		}
	}
	p.asked = true
	return p.last, p.lastErr
}

// ServerPreferredNamespacedResources is what the resource quota asks.
func (p *patient) ServerPreferredNamespacedResources() ([]*metav1.APIResourceList, error) {
	all, err := p.ServerPreferredResources()
	return namespaced(all), err
}

func namespaced(all []*metav1.APIResourceList) []*metav1.APIResourceList {
	return discovery.FilteredBy(discovery.ResourcePredicateFunc(func(_ string, r *metav1.APIResource) bool { return r.Namespaced }), all)
}

// discovered asks until there is an answer. What is missing in it, of an
// aggregated API that does not answer, upstream's controllers know how to miss.
func (r *run) discovered() ([]*metav1.APIResourceList, error) {
	pause := time.NewTicker(discoverPause)
	defer pause.Stop()
	for r.first == nil {
		answer, err := r.client.Discovery().ServerPreferredResources()
		if len(answer) > 0 {
			r.first = answer
			break
		}
		select {
		case <-pause.C:
		case <-r.ctx.Done():
			return nil, fmt.Errorf("discovery: %w: %w", context.Cause(r.ctx), err)
		}
	}
	return r.first, nil
}
