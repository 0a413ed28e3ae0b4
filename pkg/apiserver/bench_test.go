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
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/kubembed/kubembed/pkg/apiserver"
)

// BenchmarkCreatePodOverTLS creates pods by 16 writers with one certificate, over one
// connection, in the process of the server. RBAC authorizes them.
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

// BenchmarkCreatePodWithGo is BenchmarkCreatePodOverTLS with an authorizer and an
// admission plugin in Go.
func BenchmarkCreatePodWithGo(b *testing.B) {
	noOpinion := authorizer.AuthorizerFunc(func(context.Context, authorizer.Attributes) (authorizer.Decision, string, error) {
		return authorizer.DecisionNoOpinion, "", nil
	})
	createPods(b, startPlane(b, func(c *apiserver.Config) {
		c.Authorization.Authorizers = []apiserver.Authorizer{{Name: "none", Authorizer: noOpinion, Before: "node"}}
		c.Admission.Plugins = []apiserver.AdmissionPlugin{{Name: "Nothing", New: func() (admission.Interface, error) { return nothing{}, nil }}}
	}))
}

func createPods(b *testing.B, p *plane) {
	b.Helper()
	p.bind(b, "jane", "cluster-admin")
	config := p.as(b, "jane")
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
