// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package hollownode

import (
	"context"
	"time"

	"go.uber.org/zap"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
)

// renewals is the number of renewals in the duration of a lease. The kubelet has four,
// because its connection to the API server is slower and less reliable.
const renewals = 2

// leaseTicks is the number of checks of all leases in a renewal interval: a few bursts of
// writes cost less than a timer for each lease.
const leaseTicks = 20

// createLease creates the lease of the node, or takes over an existing one.
func (s *session) createLease(ctx context.Context, n *node) error {
	n.mu.Lock()
	uid, known := n.uid, n.lease != nil
	n.mu.Unlock()
	if known {
		return nil
	}
	leases := s.client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	lease := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{
			Name: n.name,
			OwnerReferences: []metav1.OwnerReference{
				{APIVersion: "v1", Kind: "Node", Name: n.name, UID: uid},
			},
		},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity:       new(n.name),
			LeaseDurationSeconds: new(int32(s.config.LeaseDuration / time.Second)),
			RenewTime:            new(metav1.NowMicro()),
		},
	}
	created, err := leases.Create(ctx, lease, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		var old *coordinationv1.Lease
		if old, err = leases.Get(ctx, n.name, metav1.GetOptions{}); err != nil {
			return err
		}
		lease.ResourceVersion = old.ResourceVersion
		created, err = leases.Update(ctx, lease, metav1.UpdateOptions{})
	}
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lease = created
	// Renewals are spread over the interval, however fast the leases were created.
	interval := s.config.LeaseDuration / renewals
	n.renewAt = time.Now().Add(interval * time.Duration(n.number+1) / time.Duration(len(s.nodes)))
	return nil
}

// renewLeases renews the leases of all nodes until ctx ends.
func (s *session) renewLeases(ctx context.Context) {
	interval := s.config.LeaseDuration / renewals
	wait.NonSlidingUntilWithContext(ctx, func(ctx context.Context) {
		now := time.Now()
		for _, name := range s.names {
			if n := s.nodes[name]; ctx.Err() == nil && !s.isDead(name) {
				s.renewLease(ctx, n, now, interval)
			}
		}
	}, interval/leaseTicks)
}

// renewLease renews the lease if it is due. The next tick retries a failed renewal.
func (s *session) renewLease(ctx context.Context, n *node, now time.Time, interval time.Duration) {
	n.mu.Lock()
	lease, due := n.lease, n.renewAt
	n.mu.Unlock()
	if lease == nil || now.Before(due) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, s.config.LeaseDuration/leaseTicks+time.Second)
	defer cancel()
	leases := s.client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	update := lease.DeepCopy()
	update.Spec.RenewTime = new(metav1.NowMicro())
	renewed, err := leases.Update(ctx, update, metav1.UpdateOptions{})
	if apierrors.IsConflict(err) {
		// Another client has modified it, and the next tick renews it, or deleted it.
		renewed, err = leases.Get(ctx, n.name, metav1.GetOptions{})
		interval = 0
	}
	if apierrors.IsNotFound(err) {
		update.UID, update.ResourceVersion = "", ""
		renewed, err = leases.Create(ctx, update, metav1.CreateOptions{})
	}
	if err != nil {
		if ctx.Err() == nil {
			s.logger.Warn("heartbeat failed, will retry", zap.String("node", n.name), zap.Error(err))
		}
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.lease == lease { // not deleted or created again meanwhile
		n.lease, n.renewAt = renewed, due.Add(interval)
		if n.renewAt.Before(now) {
			n.renewAt = now.Add(interval)
		}
	}
}
