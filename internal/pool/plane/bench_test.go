// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package plane

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kubembed/kubembed/internal/pool/protocol"
)

// BenchmarkReset resets a control plane after a test that has created one object.
func BenchmarkReset(b *testing.B) {
	p := startFor(b, protocol.Options{}, 0)
	for b.Loop() {
		b.StopTimer()
		lease := p.Begin("one")
		client, err := kubernetes.NewForConfig(&rest.Config{Host: lease.URL, BearerToken: lease.Token, TLSClientConfig: rest.TLSClientConfig{CAData: lease.CABundle}})
		if err != nil {
			b.Fatal(err)
		}
		settings := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings"}}
		if _, err := client.CoreV1().ConfigMaps("default").Create(b.Context(), settings, metav1.CreateOptions{}); err != nil {
			b.Fatal(err)
		}
		p.End()
		p.leases = 0
		b.StartTimer()
		if err := p.Reset(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
