package hollownode

import (
	"context"
	"time"

	"go.uber.org/zap"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// renewals is how many renewals there are in the life of a lease. The kubelet has
// four, for its way to the API server is longer; half the writes do here.
const renewals = 2

// leaseTicks is how many times in an interval the leases are looked at: a few
// bursts of writes cost less than a wake-up for each.
const leaseTicks = 20

// createLease makes the node's lease, or takes over the one that there is.
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
			HolderIdentity:       ptr.To(n.name),
			LeaseDurationSeconds: ptr.To(int32(s.config.LeaseDuration / time.Second)),
			RenewTime:            ptr.To(metav1.NowMicro()),
		},
	}
	made, err := leases.Create(ctx, lease, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		var old *coordinationv1.Lease
		if old, err = leases.Get(ctx, n.name, metav1.GetOptions{}); err != nil {
			return err
		}
		lease.ResourceVersion = old.ResourceVersion
		made, err = leases.Update(ctx, lease, metav1.UpdateOptions{})
	}
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lease = made
	// From then on spread over the interval, however fast they were made.
	interval := s.config.LeaseDuration / renewals
	n.due = time.Now().Add(interval * time.Duration(n.number+1) / time.Duration(len(s.nodes)))
	return nil
}

// renewLeases is the heart of all nodes.
func (s *session) renewLeases(ctx context.Context) {
	interval := s.config.LeaseDuration / renewals
	ticker := time.NewTicker(interval / leaseTicks)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			for _, name := range s.names {
				if n := s.nodes[name]; ctx.Err() == nil && !s.isDead(name) {
					s.renewLease(ctx, n, now, interval)
				}
			}
		}
	}
}

// renewLease renews the lease if it is due. What fails is tried again at the next
// tick.
func (s *session) renewLease(ctx context.Context, n *node, now time.Time, interval time.Duration) {
	n.mu.Lock()
	lease, due := n.lease, n.due
	n.mu.Unlock()
	if lease == nil || now.Before(due) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, s.config.LeaseDuration/leaseTicks+time.Second)
	defer cancel()
	leases := s.client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	update := lease.DeepCopy()
	update.Spec.RenewTime = ptr.To(metav1.NowMicro())
	renewed, err := leases.Update(ctx, update, metav1.UpdateOptions{})
	if apierrors.IsConflict(err) {
		// Somebody has changed it, and the next tick renews that one, or deleted it.
		renewed, err = leases.Get(ctx, n.name, metav1.GetOptions{})
		interval = 0
	}
	if apierrors.IsNotFound(err) {
		update.UID, update.ResourceVersion = "", ""
		renewed, err = leases.Create(ctx, update, metav1.CreateOptions{})
	}
	if err != nil {
		if ctx.Err() == nil {
			s.logger.Warn("a heartbeat has failed and will be tried again", zap.String("node", n.name), zap.Error(err))
		}
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.lease == lease { // and not deleted or made anew meanwhile
		n.lease, n.due = renewed, due.Add(interval)
		if n.due.Before(now) {
			n.due = now.Add(interval)
		}
	}
}
