package hollownode

import (
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// pods are all pods that are bound to a node, as the watch tells them. It is the
// store of a reflector.
type pods struct {
	config  *Config
	ips     *ips
	ours    func(node string) bool
	enqueue func(types.NamespacedName)

	mu     sync.Mutex
	byName map[types.NamespacedName]*pod
	synced chan struct{} // closed when all pods that there were are known
}

// pod is a pod on one of our nodes. The API has times in full seconds only:
// what is less is kept here.
type pod struct {
	object    *corev1.Pod
	behaviour behaviour
	// bound, since and deleting are when the pod was first seen, when its
	// containers last started or ended, and when its deletion was first seen.
	bound, since, deleting time.Time
	// podIPs are the addresses that are kept for it.
	podIPs []corev1.PodIP
	// removed means that its deletion has been confirmed.
	removed bool
	// changed is closed at the next change.
	changed chan struct{}
}

func key(pod *corev1.Pod) types.NamespacedName {
	return types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}
}

// get returns a copy of what is known, which the caller may change.
func (p *pods) get(name types.NamespacedName) (pod, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	known, ok := p.byName[name]
	if !ok {
		return pod{}, false
	}
	return *known, true
}

// keep takes over what a worker has found out about a pod.
func (p *pods) keep(name types.NamespacedName, of pod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if known, ok := p.byName[name]; ok && known.object.UID == of.object.UID {
		known.bound, known.since, known.deleting = of.bound, of.since, of.deleting
		known.podIPs, known.removed = of.podIPs, of.removed
		return
	}
	p.release(&of)
}

// on returns the names of the pods on a node.
func (p *pods) on(node string) (names []types.NamespacedName) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, known := range p.byName {
		if known.object.Spec.NodeName == node {
			names = append(names, name)
		}
	}
	return names
}

// put is called with mu held.
func (p *pods) put(object *corev1.Pod) {
	p.ips.note(object)
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
	known.object = object
	var err error
	if known.behaviour, err = p.config.behaviour(object); err != nil {
		p.config.Logger.Warn("a pod's annotation is ignored", zap.Stringer("pod", name), zap.Error(err))
	}
	close(known.changed)
	known.changed = make(chan struct{})
	p.enqueue(name)
}

// drop is called with mu held.
func (p *pods) drop(object *corev1.Pod) {
	p.ips.release(object.UID, addresses(object)...)
	name := key(object)
	if known, ok := p.byName[name]; ok && known.object.UID == object.UID {
		delete(p.byName, name)
		close(known.changed)
		p.release(known)
	}
}

func (p *pods) release(of *pod) {
	unwritten := corev1.Pod{Status: corev1.PodStatus{PodIPs: of.podIPs}}
	p.ips.release(of.object.UID, addresses(&unwritten)...)
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

// Replace takes what there is: at first, and when the watch has missed something.
func (p *pods) Replace(list []any, _ string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	there := make(map[types.UID]bool, len(list))
	for _, object := range list {
		there[object.(*corev1.Pod).UID] = true
	}
	for _, known := range p.byName {
		if !there[known.object.UID] {
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
