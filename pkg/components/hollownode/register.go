package hollownode

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// node is one of our nodes.
type node struct {
	name   string
	number int

	mu         sync.Mutex
	registered bool
	counted    bool // among those that are ready
	uid        types.UID
	cidrs      []netip.Prefix
	lease      *coordinationv1.Lease
	due        time.Time // of the lease's renewal
}

// podCIDRs are the ranges that pods on the node have addresses from.
func (n *node) podCIDRs(otherwise string) []netip.Prefix {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.cidrs) > 0 {
		return n.cidrs
	}
	return []netip.Prefix{netip.MustParsePrefix(otherwise)} // validated
}

func (n *node) isRegistered() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.registered
}

// forget makes the node register again.
func (n *node) forget() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.registered, n.lease = false, nil
}

// observe takes what others have decided about the node.
func (n *node) observe(object *corev1.Node) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.uid, n.cidrs = object.UID, nil
	for _, cidr := range object.Spec.PodCIDRs {
		if prefix, err := netip.ParsePrefix(cidr); err == nil {
			n.cidrs = append(n.cidrs, prefix)
		}
	}
}

// syncNode registers the node if it has not been, and else says that it is Ready.
func (s *session) syncNode(ctx context.Context, n *node) error {
	if s.isDead(n.name) {
		s.count(n)
		return nil
	}
	object, err := s.register(ctx, n)
	switch {
	case apierrors.IsInvalid(err), apierrors.IsForbidden(err):
		// It would be refused for ever.
		s.fail(failure{fmt.Errorf("node %s: %w", n.name, err)})
		return nil
	case err != nil:
		return err
	case object == nil:
		return nil
	}
	n.observe(object)
	if err := s.createLease(ctx, n); err != nil {
		return err
	}
	n.mu.Lock()
	n.registered = true
	n.mu.Unlock()
	s.count(n)
	return nil
}

// count closes registered when all nodes have been counted.
func (s *session) count(n *node) {
	n.mu.Lock()
	counted := n.counted
	n.counted = true
	n.mu.Unlock()
	if !counted && s.missing.Add(-1) == 0 {
		close(s.registered)
	}
}

// register creates the Node object or takes over the one that there is. It
// returns none when that has been deleted since it was registered, after which a
// kubelet too stays away until it starts anew.
func (s *session) register(ctx context.Context, n *node) (*corev1.Node, error) {
	nodes := s.client.CoreV1().Nodes()
	object, err := nodes.Get(ctx, n.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		if n.isRegistered() {
			return nil, nil
		}
		object = &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.name}}
		s.describe(object)
		object.Spec.Taints = slices.Clone(s.config.Taints)
		s.setStatus(object)
		object, err = nodes.Create(ctx, object, metav1.CreateOptions{})
	}
	if err != nil {
		return nil, err
	}
	described := object.DeepCopy()
	s.describe(described)
	if !maps.Equal(described.Labels, object.Labels) || len(described.Spec.Taints) != len(object.Spec.Taints) {
		if object, err = nodes.Update(ctx, described, metav1.UpdateOptions{}); err != nil {
			return nil, err
		}
	}
	if !s.current(object) {
		s.setStatus(object)
		object, err = nodes.UpdateStatus(ctx, object, metav1.UpdateOptions{})
	}
	return object, err
}

// describe sets what is the kubelet's to set outside the status.
func (s *session) describe(object *corev1.Node) {
	labels := map[string]string{
		corev1.LabelHostname:   object.Name,
		corev1.LabelOSStable:   "linux",
		corev1.LabelArchStable: runtime.GOARCH,
	}
	maps.Copy(labels, s.config.Labels)
	if object.Labels == nil {
		object.Labels = map[string]string{}
	}
	maps.Copy(object.Labels, labels)
	// Admission taints every new node, and the node lifecycle controller takes the
	// taint away when the node is Ready. This node is, and nobody may run that
	// controller.
	notReady := corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule}
	object.Spec.Taints = slices.DeleteFunc(object.Spec.Taints, func(t corev1.Taint) bool { return t.MatchTaint(&notReady) })
}

// current tells whether the status is what setStatus would make it.
func (s *session) current(object *corev1.Node) bool {
	for _, c := range object.Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue {
			return object.Status.DaemonEndpoints.KubeletEndpoint.Port == int32(s.server.address.Port()) &&
				len(object.Status.Addresses) > 0 && object.Status.Addresses[0].Address == s.server.address.Addr().String() &&
				object.Status.NodeInfo.BootID == s.boot
		}
	}
	return false
}

// setStatus sets the status as a healthy kubelet does.
func (s *session) setStatus(object *corev1.Node) {
	status := &object.Status
	status.Capacity, status.Allocatable = s.config.Capacity.DeepCopy(), s.config.Capacity.DeepCopy()
	status.Addresses = []corev1.NodeAddress{
		{Type: corev1.NodeInternalIP, Address: s.server.address.Addr().String()},
		{Type: corev1.NodeHostName, Address: object.Name},
	}
	status.DaemonEndpoints.KubeletEndpoint.Port = int32(s.server.address.Port())
	id := hash(object.Name)
	status.NodeInfo = corev1.NodeSystemInfo{
		MachineID:               id[:32],
		SystemUUID:              id[:8] + "-" + id[8:12] + "-" + id[12:16] + "-" + id[16:20] + "-" + id[20:32],
		BootID:                  s.boot,
		KernelVersion:           "hollow",
		OSImage:                 "Hollow node",
		ContainerRuntimeVersion: "hollow://" + s.version,
		KubeletVersion:          s.version,
		OperatingSystem:         "linux",
		Architecture:            runtime.GOARCH,
	}
	now := metav1.Now()
	for _, c := range []corev1.NodeCondition{
		{Type: corev1.NodeMemoryPressure, Status: corev1.ConditionFalse, Reason: "KubeletHasSufficientMemory", Message: "kubelet has sufficient memory available"},
		{Type: corev1.NodeDiskPressure, Status: corev1.ConditionFalse, Reason: "KubeletHasNoDiskPressure", Message: "kubelet has no disk pressure"},
		{Type: corev1.NodePIDPressure, Status: corev1.ConditionFalse, Reason: "KubeletHasSufficientPID", Message: "kubelet has sufficient PID available"},
		{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", Message: "kubelet is posting ready status"},
	} {
		c.LastHeartbeatTime, c.LastTransitionTime = now, now
		i := slices.IndexFunc(status.Conditions, func(old corev1.NodeCondition) bool { return old.Type == c.Type })
		if i < 0 {
			status.Conditions = append(status.Conditions, c)
			continue
		}
		if status.Conditions[i].Status == c.Status {
			c.LastTransitionTime = status.Conditions[i].LastTransitionTime
		}
		status.Conditions[i] = c
	}
}

// nodeStore is the store of the reflector of nodes.
type nodeStore struct{ *session }

func (s nodeStore) Add(object any) error { return s.Update(object) }

func (s nodeStore) Update(object any) error {
	seen := object.(*corev1.Node)
	n := s.nodes[seen.Name]
	if n == nil || !n.isRegistered() {
		return nil
	}
	n.observe(seen)
	if !s.current(seen) {
		// The control plane thought it dead.
		s.queue.Add(types.NamespacedName{Name: seen.Name})
	}
	return nil
}

func (s nodeStore) Delete(object any) error {
	if n := s.nodes[object.(*corev1.Node).Name]; n != nil {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.lease = nil // which is not renewed any more
	}
	return nil
}

func (s nodeStore) Replace(list []any, _ string) error {
	for _, object := range list {
		_ = s.Update(object)
	}
	return nil
}

func (s nodeStore) Resync() error { return nil }
