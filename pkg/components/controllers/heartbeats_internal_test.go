// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
)

// TestNodeStaysHealthyAfterClockJump: upstream's controller sees an increasing time for
// each renewal, and the same time for a Lease that is not renewed.
func TestNodeStaysHealthyAfterClockJump(t *testing.T) {
	const year = 365 * 24 * time.Hour
	factory := informers.NewSharedInformerFactory(fake.NewClientset(), 0)
	h, err := newHeartbeats(factory.Coordination().V1().Leases())
	if err != nil {
		t.Fatal(err)
	}
	store := factory.Coordination().V1().Leases().Informer().GetStore()
	renew := func(at time.Time) {
		t.Helper()
		if err := store.Add(&coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Namespace: corev1.NamespaceNodeLease, Name: "node"},
			Spec:       coordinationv1.LeaseSpec{RenewTime: new(metav1.NewMicroTime(at))},
		}); err != nil {
			t.Fatal(err)
		}
	}
	get := func() *metav1.MicroTime {
		t.Helper()
		lease, err := h.Lister().Leases(corev1.NamespaceNodeLease).Get("node")
		if err != nil {
			t.Fatal(err)
		}
		return lease.Spec.RenewTime
	}
	now := time.Now()
	renew(now)
	previous := get()
	for _, jump := range []time.Duration{time.Second, -year, -year + time.Second, year, 0} {
		renew(now.Add(jump))
		seen := get()
		if !previous.Before(seen) { // as upstream compares them
			t.Errorf("after a jump of %v: got renewal time %v, want one after %v", jump, seen, previous)
		}
		if again := get(); !again.Equal(seen) {
			t.Errorf("without a renewal: got %v, want %v", again, seen)
		}
		previous = seen
	}
}
