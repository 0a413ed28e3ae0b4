// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"

	"github.com/kubembed/kubembed/internal/etcdtest"
	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// holding is an admission plugin that holds back the ConfigMaps named held, after
// plugin NamespaceLifecycle has admitted them.
type holding struct {
	*admission.Handler
	held, released chan struct{}
}

func (h holding) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetName() == "held" {
		h.held <- struct{}{}
		<-h.released
	}
	return nil
}

// TestNamespaceDeletionFindsObjectsInFlight: objects that were admitted before the
// deletion of their namespace, and stored after it, are deleted too.
func TestNamespaceDeletionFindsObjectsInFlight(t *testing.T) {
	const namespaces = 12
	h := holding{admission.NewHandler(admission.Create), make(chan struct{}), make(chan struct{})}
	server := start(t, controlplane.Config{Admission: apiserver.Admission{Plugins: []apiserver.AdmissionPlugin{
		{Name: "Holding", New: func() (admission.Interface, error) { return h, nil }},
	}}})
	client := admin(t, server)
	name := func(i int) string { return fmt.Sprint("held-", i) }
	var running sync.WaitGroup
	for i := range namespaces {
		createNamespace(t, client, name(i))
		running.Go(func() {
			object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "held"}}
			if _, err := client.CoreV1().ConfigMaps(name(i)).Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
				t.Error(err)
			}
		})
		<-h.held
	}
	began := time.Now()
	for i := range namespaces {
		deleteNamespace(t, client, name(i))
	}
	// A deletion that did not wait would finish beside these requests.
	for range 200 {
		if _, err := client.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	close(h.released)
	running.Wait()
	if time.Since(began) > 4*time.Second {
		t.Skip("a slow machine: the grace period of upstream has passed")
	}
	for i := range namespaces {
		wantNamespaceGone(t, client, name(i))
		createNamespace(t, client, name(i))
		if _, err := client.CoreV1().ConfigMaps(name(i)).Get(t.Context(), "held", metav1.GetOptions{}); isGone(err) != nil {
			t.Errorf("%s: object: got %v, want it deleted", name(i), err)
		}
	}
}

// TestNamespaceDeletionWithSharedEtcd waits for upstream's grace period: another API
// server may have admitted objects.
func TestNamespaceDeletionWithSharedEtcd(t *testing.T) {
	t.Parallel()
	const grace = 5 * time.Second
	etcd := controlplane.Etcd{Endpoints: []string{etcdtest.Start(t).Endpoint()}}
	client := admin(t, start(t, controlplane.Config{Etcd: etcd}))
	createNamespace(t, client, "tested")
	began := time.Now()
	deleteNamespace(t, client, "tested")
	wantNamespaceGone(t, client, "tested")
	if took := time.Since(began); took < grace {
		t.Errorf("gone after %s, want at least %s", took, grace)
	}
}
