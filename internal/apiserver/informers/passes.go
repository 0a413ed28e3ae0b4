// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package informers

import (
	"context"
	"sync"
	"time"

	"k8s.io/client-go/tools/cache"
)

// passInterval is the interval of passes without a change. Upstream has the same. A pass
// fails if a policy's parameters have a kind that is not served.
const passInterval = time.Second

// maxAsked is the number of questions that a change answers. The loop does not compile if
// it has compiled the change already, with one before it.
const maxAsked = 10

// passes paces the loop in which admission compiles the policies of a plugin. Upstream's
// loop asks both informers of the plugin for HasSynced before each pass, and lists the
// bindings in the pass. Here the question blocks until there is something to compile, so
// that the loop can have a short period: it costs nothing while no policy changes, and
// passes that fail remain a second apart.
type passes struct {
	mu       sync.Mutex
	due      chan struct{} // closed from a change until the pass that compiles it
	isDue    bool
	asked    int // since the change or the beginning of a pass
	followed map[cache.SharedIndexInformer]bool
}

// newPasses returns passes. The first one is due.
func newPasses() *passes {
	p := &passes{due: make(chan struct{}), followed: map[cache.SharedIndexInformer]bool{}}
	p.change()
	return p
}

// policies returns the informer of the plugin's policies.
func (p *passes) policies(informer blockingInformer) cache.SharedIndexInformer {
	p.follow(informer.SharedIndexInformer)
	return policyInformer{informer, p}
}

// bindings returns the informer of the bindings of these policies.
func (p *passes) bindings(informer blockingInformer) cache.SharedIndexInformer {
	p.follow(informer.SharedIndexInformer)
	return bindingInformer{informer, p}
}

// follow makes passes due when objects of the informer change.
func (p *passes) follow(informer cache.SharedIndexInformer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.followed[informer] {
		return
	}
	p.followed[informer] = true
	// Its only error is that the informer has stopped.
	_, _ = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { p.change() },
		UpdateFunc: func(any, any) { p.change() },
		DeleteFunc: func(any) { p.change() },
	})
}

func (p *passes) change() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = 0
	p.set()
}

func (p *passes) set() {
	if !p.isDue {
		p.isDue = true
		close(p.due)
	}
}

// begin is called at the beginning of a pass, before it reads the objects.
func (p *passes) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = 0
	p.reset()
}

func (p *passes) reset() {
	if p.isDue {
		p.isDue = false
		p.due = make(chan struct{})
	}
}

// wait returns when a pass is due, after passInterval, or when ctx ends.
func (p *passes) wait(ctx context.Context) {
	p.mu.Lock()
	if p.asked++; p.asked > maxAsked {
		p.reset()
	}
	due := p.due
	p.mu.Unlock()
	timer := time.NewTimer(passInterval)
	defer timer.Stop()
	select {
	case <-due:
	case <-timer.C:
		// The loop asks once more before it begins.
		p.mu.Lock()
		p.set()
		p.mu.Unlock()
	case <-ctx.Done():
	}
}

// policyInformer is the informer of a plugin's policies.
type policyInformer struct {
	blockingInformer
	passes *passes
}

func (i policyInformer) HasSynced() bool {
	synced := i.blockingInformer.HasSynced()
	i.passes.wait(i.ctx)
	return synced
}

// bindingInformer is the informer of the bindings of these policies.
type bindingInformer struct {
	blockingInformer
	passes *passes
}

func (i bindingInformer) GetIndexer() cache.Indexer {
	return bindingIndexer{i.blockingInformer.GetIndexer(), i.passes}
}

type bindingIndexer struct {
	cache.Indexer
	passes *passes
}

func (i bindingIndexer) List() []any {
	i.passes.begin()
	return i.Indexer.List()
}
