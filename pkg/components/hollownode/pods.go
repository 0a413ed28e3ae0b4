// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package hollownode

import (
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

// pods has all pods that are bound to a simulated node. It is the store of a reflector.
type pods struct {
	config  *Config
	ips     *ipAllocator
	ours    func(node string) bool
	enqueue func(types.NamespacedName)
	share   cache.TransformFunc // may be nil

	mu     sync.Mutex
	byName map[types.NamespacedName]*pod
	synced chan struct{} // closed after the first list
}

// pod is a pod on a simulated node. It has times with their fractions of a second, which
// the API lacks.
type pod struct {
	object   *corev1.Pod
	behavior behavior
	// bound, since and deleting are when the pod was first seen, when its
	// containers last started or ended, and when its deletion was first seen.
	bound, since, deleting time.Time
	// podIPs are the allocated addresses.
	podIPs []corev1.PodIP
	// removed means that its deletion has been confirmed.
	removed bool
	// changed is closed at the next change.
	changed chan struct{}
}

func key(pod *corev1.Pod) types.NamespacedName {
	return types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}
}

// get returns a copy of the pod, which the caller may modify.
func (p *pods) get(name types.NamespacedName) (pod, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	known, ok := p.byName[name]
	if !ok {
		return pod{}, false
	}
	return *known, true
}

// save stores the fields that a worker has changed in its copy of a pod.
func (p *pods) save(name types.NamespacedName, updated pod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if known, ok := p.byName[name]; ok && known.object.UID == updated.object.UID {
		known.bound, known.since, known.deleting = updated.bound, updated.since, updated.deleting
		known.podIPs, known.removed = updated.podIPs, updated.removed
		return
	}
	p.release(&updated)
}

// onNode returns the names of the pods on a node.
func (p *pods) onNode(node string) (names []types.NamespacedName) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, known := range p.byName {
		if known.object.Spec.NodeName == node {
			names = append(names, name)
		}
	}
	return names
}

// put stores a pod. The caller holds mu.
func (p *pods) put(object *corev1.Pod) {
	p.ips.observe(object)
	if !p.ours(object.Spec.NodeName) {
		return
	}
	name := key(object)
	known, ok := p.byName[name]
	if ok && known.object.UID != object.UID {
		p.drop(known.object)
		ok = false
	}
	if !ok {
		known = &pod{bound: time.Now(), changed: make(chan struct{})}
		p.byName[name] = known
	}
	known.object = p.shared(object)
	var err error
	if known.behavior, err = p.config.behavior(object); err != nil {
		p.config.Logger.Warn("ignoring an invalid annotation of a pod", zap.Stringer("pod", name), zap.Error(err))
	}
	close(known.changed)
	known.changed = make(chan struct{})
	p.enqueue(name)
}

// shared returns the pod in the memory of the API server, if that is in this process.
func (p *pods) shared(object *corev1.Pod) *corev1.Pod {
	if p.share != nil {
		if shared, err := p.share(object); err == nil {
			return shared.(*corev1.Pod)
		}
	}
	return object
}

// drop removes a pod. The caller holds mu.
func (p *pods) drop(object *corev1.Pod) {
	p.ips.release(object.UID, addresses(object)...)
	name := key(object)
	if known, ok := p.byName[name]; ok && known.object.UID == object.UID {
		delete(p.byName, name)
		close(known.changed)
		p.release(known)
	}
}

// release frees the allocated addresses of a pod, which may not be in its status yet.
func (p *pods) release(pod *pod) {
	unwritten := corev1.Pod{Status: corev1.PodStatus{PodIPs: pod.podIPs}}
	p.ips.release(pod.object.UID, addresses(&unwritten)...)
}

func (p *pods) Add(object any) error { return p.Update(object) }

func (p *pods) Update(object any) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.put(object.(*corev1.Pod))
	return nil
}

func (p *pods) Delete(object any) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drop(object.(*corev1.Pod))
	return nil
}

// Replace stores a full list: the first one, or one after missed events.
func (p *pods) Replace(list []any, _ string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	listed := make(map[types.UID]bool, len(list))
	for _, object := range list {
		listed[object.(*corev1.Pod).UID] = true
	}
	for _, known := range p.byName {
		if !listed[known.object.UID] {
			p.drop(known.object)
		}
	}
	for _, object := range list {
		p.put(object.(*corev1.Pod))
	}
	select {
	case <-p.synced:
	default:
		close(p.synced)
	}
	return nil
}

func (p *pods) Resync() error { return nil }
