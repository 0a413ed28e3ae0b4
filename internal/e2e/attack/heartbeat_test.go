// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package attack

import (
	"context"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// heartbeats renews the Lease of the node steady over the network like a kubelet, until
// ctx ends. Hollow nodes renew theirs in the process of the control plane.
func heartbeats(ctx context.Context, t *testing.T, c kubernetes.Interface) {
	const tolerated = 40 * time.Second // the kubelet's lease duration
	leases := c.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	last := time.Now()
	rounds(ctx, 5*time.Second, func() {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		now := metav1.NowMicro()
		lease, err := leases.Get(ctx, steady, metav1.GetOptions{})
		if err == nil {
			lease.Spec.RenewTime = &now
			_, err = leases.Update(ctx, lease, metav1.UpdateOptions{})
		} else {
			_, err = leases.Create(ctx, &coordinationv1.Lease{
				ObjectMeta: metav1.ObjectMeta{Name: steady},
				Spec:       coordinationv1.LeaseSpec{HolderIdentity: new(steady), LeaseDurationSeconds: new(int32(40)), RenewTime: &now},
			}, metav1.CreateOptions{})
		}
		if err == nil {
			last = time.Now()
		} else if silence := time.Since(last); silence > tolerated && ctx.Err() == nil {
			t.Errorf("no heartbeat of %s for %s: %v", steady, silence.Round(time.Second), err)
		}
	})
}
