// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package plane

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kubembed/kubembed/internal/pool/protocol"
)

// TestIdentity: the written resources are known, and their objects are compared before a
// rollback and after it.
func TestIdentity(t *testing.T) {
	p := startFor(t, protocol.Options{}, 0)
	client := kubernetes.NewForConfigOrDie(p.server.ClientConfig())
	p.marks.written()
	if _, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := client.RbacV1().ClusterRoles().Delete(t.Context(), "view", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	compare := func() error {
		t.Helper()
		now, err := identify(t.Context(), p.server.ClientConfig(), p.marks.written())
		if err != nil {
			t.Fatal(err)
		}
		return p.identity.compare(now)
	}
	written := p.marks.written()
	for _, resource := range []string{"configmaps", "clusterroles.rbac.authorization.k8s.io"} {
		found := false
		for r := range written {
			found = found || r.String() == resource
			p.marks.note(r)
		}
		if !found {
			t.Errorf("%s are not among the written resources: %v", resource, written)
		}
	}
	if err := compare(); err == nil || !strings.Contains(err.Error(), "configmaps: ") || !strings.Contains(err.Error(), "clusterroles.rbac.authorization.k8s.io: ") {
		t.Errorf("got %v, want differences of ConfigMaps and ClusterRoles", err)
	}
	if err := p.baseline.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	for r := range written {
		p.marks.note(r)
	}
	if err := compare(); err != nil {
		t.Error(err)
	}
}
