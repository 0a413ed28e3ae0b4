// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"context"
	"fmt"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Defaults of the kubelet: nodeStatusReportFrequency, and a quarter of
// nodeLeaseDurationSeconds.
const (
	statusInterval = 5 * time.Minute
	leaseInterval  = 10 * time.Second
	leaseSeconds   = 40
)

// heartbeat is the state of a node between two heartbeats.
type heartbeat struct {
	mutex sync.Mutex
	lease *coordinationv1.Lease
	name  string
}

// registerNodes creates nodes, each with its Lease.
func (c *Client) registerNodes(ctx context.Context, s Spec) (Result, error) {
	c.nodes = make([]*heartbeat, s.Objects)
	return run(ctx, s.Objects, s.Clients, s.Rate, func(ctx context.Context, i int) error {
		node, err := c.client.CoreV1().Nodes().Create(ctx, newNode(fmt.Sprint("node-", s.First+i)), metav1.CreateOptions{})
		if err != nil {
			return err
		}
		lease, err := c.client.CoordinationV1().Leases(corev1.NamespaceNodeLease).Create(ctx, newLease(node), metav1.CreateOptions{})
		c.nodes[i] = &heartbeat{lease: lease, name: node.Name}
		return err
	})
}

// heartbeats makes all nodes renew their Leases and patch their status for a while, at
// the rate of real kubelets, evenly spread.
func (c *Client) heartbeats(ctx context.Context, s Spec) (Result, error) {
	nodes := float64(len(c.nodes))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	var statuses error
	wg.Go(func() {
		rate := nodes / statusInterval.Seconds()
		if _, statuses = run(ctx, int(rate*s.Window.Seconds()), s.Clients, rate, c.patchStatus); statuses != nil {
			cancel()
		}
	})
	rate := nodes / leaseInterval.Seconds()
	result, err := run(ctx, int(rate*s.Window.Seconds()), s.Clients, rate, c.renew)
	wg.Wait()
	if statuses != nil {
		err = statuses
	}
	return result, err
}

// renew sends the update of a Lease, which is due every 10 seconds.
func (c *Client) renew(ctx context.Context, i int) error {
	node := c.nodes[i%len(c.nodes)]
	node.mutex.Lock()
	defer node.mutex.Unlock()
	now := metav1.NowMicro()
	node.lease.Spec.RenewTime = &now
	renewed, err := c.client.CoordinationV1().Leases(corev1.NamespaceNodeLease).Update(ctx, node.lease, metav1.UpdateOptions{})
	if err != nil {
		return err
	}
	node.lease = renewed
	return nil
}

// patchStatus sends the patch of an unchanged node.
func (c *Client) patchStatus(ctx context.Context, i int) error {
	now := time.Now().UTC().Format(time.RFC3339)
	patch := fmt.Appendf(nil, `{"status":{"conditions":[{"type":"Ready","lastHeartbeatTime":%q},{"type":"MemoryPressure","lastHeartbeatTime":%q}]}}`, now, now)
	_, err := c.client.CoreV1().Nodes().Patch(ctx, c.nodes[i%len(c.nodes)].name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	return err
}

func newNode(name string) *corev1.Node {
	capacity := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("8"), corev1.ResourceMemory: resource.MustParse("32Gi"), corev1.ResourcePods: resource.MustParse("110"),
	}
	now := metav1.Now()
	condition := func(kind corev1.NodeConditionType, status corev1.ConditionStatus) corev1.NodeCondition {
		return corev1.NodeCondition{Type: kind, Status: status, LastHeartbeatTime: now, LastTransitionTime: now, Reason: "Bench", Message: "simulated"}
	}
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64"}},
		Status: corev1.NodeStatus{
			Capacity: capacity, Allocatable: capacity,
			Conditions: []corev1.NodeCondition{
				condition(corev1.NodeReady, corev1.ConditionTrue), condition(corev1.NodeMemoryPressure, corev1.ConditionFalse),
				condition(corev1.NodeDiskPressure, corev1.ConditionFalse), condition(corev1.NodePIDPressure, corev1.ConditionFalse),
			},
			Addresses: []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: name}},
		},
	}
}

func newLease(node *corev1.Node) *coordinationv1.Lease {
	seconds, now := int32(leaseSeconds), metav1.NowMicro()
	return &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: node.Name, OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID}}},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &node.Name, LeaseDurationSeconds: &seconds, RenewTime: &now},
	}
}
