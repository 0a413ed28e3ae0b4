// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

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

// node is a simulated node.
type node struct {
	name   string
	number int

	mu         sync.Mutex
	registered bool
	counted    bool // by session.countReady
	uid        types.UID
	cidrs      []netip.Prefix
	lease      *coordinationv1.Lease
	renewAt    time.Time // of the lease's renewal
}

// podCIDRs returns the address ranges for pods on the node: spec.podCIDRs, or fallback.
func (n *node) podCIDRs(fallback string) []netip.Prefix {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.cidrs) > 0 {
		return n.cidrs
	}
	return []netip.Prefix{netip.MustParsePrefix(fallback)} // validated
}

func (n *node) isRegistered() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.registered
}

// reset makes the node register again.
func (n *node) reset() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.registered, n.lease = false, nil
}

// observe stores the UID and the address ranges of the Node object.
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

// syncNode registers the node if necessary, and otherwise updates its status.
func (s *session) syncNode(ctx context.Context, n *node) error {
	if s.isDead(n.name) {
		s.countReady(n)
		return nil
	}
	object, err := s.register(ctx, n)
	switch {
	case apierrors.IsInvalid(err), apierrors.IsForbidden(err):
		// A retry would fail too.
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
	s.countReady(n)
	return nil
}

// countReady counts the node, and closes registered when all nodes are counted.
func (s *session) countReady(n *node) {
	n.mu.Lock()
	counted := n.counted
	n.counted = true
	n.mu.Unlock()
	if !counted && s.unregistered.Add(-1) == 0 {
		close(s.registered)
	}
}

// register creates the Node object or takes over an existing one. It returns nil if the
// object was deleted after its registration: a kubelet does not register again until it
// restarts.
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
	if !s.statusIsCurrent(object) {
		s.setStatus(object)
		object, err = nodes.UpdateStatus(ctx, object, metav1.UpdateOptions{})
	}
	return object, err
}

// describe sets the fields of the kubelet outside of the status.
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
	// Admission taints every new node, and the node lifecycle controller removes the
	// taint when the node is Ready. This node is Ready, and that controller may not run.
	notReady := corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule}
	object.Spec.Taints = slices.DeleteFunc(object.Spec.Taints, func(t corev1.Taint) bool { return t.MatchTaint(&notReady) })
}

// statusIsCurrent reports whether the status is the one of setStatus.
func (s *session) statusIsCurrent(object *corev1.Node) bool {
	for _, c := range object.Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue {
			return object.Status.DaemonEndpoints.KubeletEndpoint.Port == int32(s.server.address.Port()) &&
				len(object.Status.Addresses) > 0 && object.Status.Addresses[0].Address == s.server.address.Addr().String() &&
				object.Status.NodeInfo.BootID == s.bootID
		}
	}
	return false
}

// setStatus sets the status of a healthy kubelet.
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
		BootID:                  s.bootID,
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
	if !s.statusIsCurrent(seen) {
		// The control plane has marked the node as not ready.
		s.queue.Add(types.NamespacedName{Name: seen.Name})
	}
	return nil
}

func (s nodeStore) Delete(object any) error {
	if n := s.nodes[object.(*corev1.Node).Name]; n != nil {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.lease = nil // stops the renewals
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
