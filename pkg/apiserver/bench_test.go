// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BenchmarkCreatePodOverTLS creates pods by 16 writers with one certificate, over
// one connection, in the process of the server.
func BenchmarkCreatePodOverTLS(b *testing.B) {
	p := startPlane(b)
	config := p.as(b, "admin", "system:masters")
	var n atomic.Int64
	b.SetParallelism(8)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		pods := clientset(b, config).CoreV1().Pods("default")
		for pb.Next() {
			if _, err := pods.Create(b.Context(), pod(fmt.Sprint("pod-", n.Add(1))), metav1.CreateOptions{}); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
