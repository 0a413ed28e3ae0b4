// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"

	"github.com/kubembed/kubembed/pkg/apiserver"
)

// BenchmarkCreatePodOverTLS creates pods by 16 writers with one certificate, over
// one connection, in the process of the server.
func BenchmarkCreatePodOverTLS(b *testing.B) { createPods(b, startPlane(b)) }

// nothing is a plugin that mutates and validates everything, and does nothing.
type nothing struct{}

func (nothing) Handles(admission.Operation) bool { return true }
func (nothing) Admit(context.Context, admission.Attributes, admission.ObjectInterfaces) error {
	return nil
}

func (nothing) Validate(context.Context, admission.Attributes, admission.ObjectInterfaces) error {
	return nil
}

// BenchmarkCreatePodWithPlugin is BenchmarkCreatePodOverTLS with an admission plugin in
// Go.
func BenchmarkCreatePodWithPlugin(b *testing.B) {
	createPods(b, startPlane(b, func(c *apiserver.Config) {
		c.Admission.Plugins = []apiserver.AdmissionPlugin{{Name: "Nothing", New: func() (admission.Interface, error) { return nothing{}, nil }}}
	}))
}

func createPods(b *testing.B, p *plane) {
	b.Helper()
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
