// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
)

// TestExempt verifies that webhooks and policies do not apply to the server's own writes,
// and that they apply to all others, whatever the name of the client.
func TestExempt(t *testing.T) {
	own := &user.DefaultInfo{Name: user.APIServerUser, Groups: []string{user.AllAuthenticated, user.SystemPrivilegedGroup}}
	for _, c := range []struct {
		name                string
		who                 user.Info
		resource, namespace string
		object              string
		starting, ready     bool
	}{
		{"the server", own, "clusterroles", "", "admin", true, false},
		{"the server, endpoints of the kubernetes Service", own, "endpointslices", "default", "kubernetes", true, true},
		{"the server, other endpoints", own, "endpoints", "default", "mine", true, false},
		{"an administrator", &user.DefaultInfo{Name: "kubernetes-admin", Groups: own.Groups}, "endpoints", "default", "kubernetes", false, false},
		{"a certificate with the name of the server", &user.DefaultInfo{Name: user.APIServerUser, Groups: []string{user.AllAuthenticated}}, "endpoints", "default", "kubernetes", false, false},
		{"nobody", nil, "endpoints", "default", "kubernetes", false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			ready := false
			a := admission.NewAttributesRecord(&corev1.Endpoints{}, nil, schema.GroupVersionKind{}, c.namespace, c.object, //nolint:staticcheck // the server writes them
				schema.GroupVersionResource{Resource: c.resource}, "", admission.Update, &metav1.UpdateOptions{}, false, c.who)
			if got := exemptWrite(a, func() bool { return ready }); got != c.starting {
				t.Errorf("before the server is ready: exempt is %v, want %v", got, c.starting)
			}
			ready = true
			if got := exemptWrite(a, func() bool { return ready }); got != c.ready {
				t.Errorf("when the server is ready: exempt is %v, want %v", got, c.ready)
			}
		})
	}
}
