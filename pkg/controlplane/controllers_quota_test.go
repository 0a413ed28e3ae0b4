// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// TestQuotaCountsObjectsOfAMomentAgo verifies that the first usage of a quota has the
// objects that were created just before it. Admission does not count them, and the
// controller would find them at the next resync.
func TestQuotaCountsObjectsOfAMomentAgo(t *testing.T) {
	t.Parallel()
	server := start(t, controlplane.Config{})
	client := admin(t, server)
	// Other Secrets delay the informer.
	ctx, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	defer writers.Wait()
	defer stop()
	createNamespace(t, client, "busy")
	for i := range 4 {
		writers.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				meta := metav1.ObjectMeta{Name: fmt.Sprint("busy-", i, "-", n)}
				_, _ = client.CoreV1().Secrets("busy").Create(ctx, &corev1.Secret{ObjectMeta: meta}, metav1.CreateOptions{})
				_ = client.CoreV1().Secrets("busy").Delete(ctx, meta.Name, metav1.DeleteOptions{})
			}
		})
	}
	for i := range 200 {
		namespace := fmt.Sprint("counted-", i%10)
		if i < 10 {
			createNamespace(t, client, namespace)
		}
		meta := metav1.ObjectMeta{Name: fmt.Sprint("counted-", i)}
		if _, err := client.CoreV1().Secrets(namespace).Create(t.Context(), &corev1.Secret{ObjectMeta: meta}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		hard := corev1.ResourceList{"secrets": resource.MustParse("100")}
		if _, err := client.CoreV1().ResourceQuotas(namespace).Create(t.Context(),
			&corev1.ResourceQuota{ObjectMeta: meta, Spec: corev1.ResourceQuotaSpec{Hard: hard}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		quota := testwait.Object(t, testwait.Named(client.CoreV1().RESTClient(), "resourcequotas", namespace, meta.Name), &corev1.ResourceQuota{},
			func(quota *corev1.ResourceQuota) bool { return len(quota.Status.Used) > 0 })
		if used, want := quota.Status.Used["secrets"], int64(i/10+1); used.Value() != want {
			t.Fatalf("round %d: got a usage of %d, want %d", i, used.Value(), want)
		}
		if err := client.CoreV1().ResourceQuotas(namespace).Delete(t.Context(), meta.Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}
