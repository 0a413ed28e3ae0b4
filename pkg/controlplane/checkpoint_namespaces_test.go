// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/kubernetes"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// restoreInTime fails if a rollback never ends.
func restoreInTime(t *testing.T, saved *controlplane.Checkpoint, round int) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, errors.New("the rollback does not end"))
	defer cancel()
	if err := saved.Rollback(ctx); err != nil {
		t.Fatalf("round %d: %v", round, err)
	}
}

// TestRollbackToANewNamespace verifies that a rollback ends although controllers create
// again what a namespace lacked at the checkpoint.
func TestRollbackToANewNamespace(t *testing.T) {
	t.Parallel()
	server := start(t, controlplane.Config{})
	client := admin(t, server)
	for i := range 20 {
		createNamespace(t, client, fmt.Sprint("new-", i))
		saved := checkpoint(t, server)
		createNamespace(t, client, fmt.Sprint("later-", i))
		restoreInTime(t, saved, i)
		waitForDefaults(t, client, fmt.Sprint("new-", i))
		restoreInTime(t, saved, i)
		if all, err := client.CoreV1().ServiceAccounts(fmt.Sprint("later-", i)).List(t.Context(), metav1.ListOptions{}); err != nil || len(all.Items) > 0 {
			t.Errorf("round %d: got service accounts %v, %v in a namespace that is gone", i, all, err)
		}
	}
}

// waitForDefaults waits for the objects that controllers keep in every namespace.
func waitForDefaults(t *testing.T, client kubernetes.Interface, namespace string) {
	t.Helper()
	testwait.Until(t, "the objects of namespace "+namespace, func(ctx context.Context) error {
		_, account := client.CoreV1().ServiceAccounts(namespace).Get(ctx, "default", metav1.GetOptions{})
		_, ca := client.CoreV1().ConfigMaps(namespace).Get(ctx, "kube-root-ca.crt", metav1.GetOptions{})
		return errors.Join(account, ca)
	})
}

// TestRollbackWhileNamespaceIsDeleted verifies that what a rollback puts back stays. At
// each round the controller has come further when the rollback begins.
func TestRollbackWhileNamespaceIsDeleted(t *testing.T) {
	t.Parallel()
	server := start(t, controlplane.Config{})
	client := admin(t, server)
	const objects = 20
	createNamespace(t, client, "kept")
	for i := range objects {
		if _, err := client.CoreV1().ConfigMaps("kept").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("kept-", i)}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	waitForDefaults(t, client, "kept")
	saved := checkpoint(t, server)
	for round := range 60 {
		if err := client.CoreV1().Namespaces().Delete(t.Context(), "kept", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		for range round {
			if _, err := client.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		restoreInTime(t, saved, round)
		namespace, err := client.CoreV1().Namespaces().Get(t.Context(), "kept", metav1.GetOptions{})
		if err != nil || namespace.DeletionTimestamp != nil || len(namespace.Spec.Finalizers) != 1 {
			t.Fatalf("round %d: got the namespace %v, %v", round, namespace, err)
		}
		maps, err := client.CoreV1().ConfigMaps("kept").List(t.Context(), metav1.ListOptions{})
		if err != nil || len(maps.Items) != objects+1 {
			t.Fatalf("round %d: got %d ConfigMaps, %v, want %d", round, len(maps.Items), err, objects+1)
		}
	}
}

// slowDeletions is an admission plugin in which the deletions of a namespace's content
// hang until their requests end, or until released is closed.
type slowDeletions struct {
	*admission.Handler
	begun, released chan struct{}
	once            *sync.Once
}

func (s slowDeletions) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetNamespace() != "kept" || a.GetUserInfo().GetName() != user.KubeControllerManager {
		return nil
	}
	s.once.Do(func() { close(s.begun) })
	select {
	case <-ctx.Done():
	case <-s.released:
	}
	return ctx.Err()
}

// TestRollbackInterruptsADeletion verifies that the controller does not empty a namespace
// that a rollback has put back, however long its requests take.
func TestRollbackInterruptsADeletion(t *testing.T) {
	t.Parallel()
	slow := slowDeletions{admission.NewHandler(admission.Delete), make(chan struct{}), make(chan struct{}), &sync.Once{}}
	server := start(t, controlplane.Config{Admission: apiserver.Admission{Plugins: []apiserver.AdmissionPlugin{
		{Name: "SlowDeletions", New: func() (admission.Interface, error) { return slow, nil }},
	}}})
	client := admin(t, server)
	for _, namespace := range []string{"kept", "another"} {
		createNamespace(t, client, namespace)
		waitForDefaults(t, client, namespace)
	}
	saved := checkpoint(t, server)
	deleteNamespace := func(name string) {
		if err := client.CoreV1().Namespaces().Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	deleteNamespace("kept")
	<-slow.begun
	restoreInTime(t, saved, 0)
	close(slow.released)
	// What the controller still does to the first namespace is over by then.
	deleteNamespace("another")
	testwait.Until(t, "the other namespace", func(ctx context.Context) error {
		_, err := client.CoreV1().Namespaces().Get(ctx, "another", metav1.GetOptions{})
		return isGone(err)
	})
	if _, err := client.CoreV1().ConfigMaps("kept").Get(t.Context(), "kube-root-ca.crt", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
	if namespace, err := client.CoreV1().Namespaces().Get(t.Context(), "kept", metav1.GetOptions{}); err != nil || len(namespace.Spec.Finalizers) != 1 {
		t.Errorf("got the namespace %v, %v", namespace, err)
	}
}
