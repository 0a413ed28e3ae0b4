// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
)

// namespaceTimeout bounds the wait for the service account of a namespace, which takes
// milliseconds.
const namespaceTimeout = time.Minute

// Namespace creates a namespace and returns its name: the test's name, as far as a
// namespace allows it, and a random suffix. Each call creates another namespace. Pods can
// be created in it at once: it has its service account "default", or needs none
// (Config.BehaveLikeEnvtest).
//
// At the end of the test Namespace calls OnFailure, and deletes the namespace without
// waiting. The namespace of a failed test stays for inspection.
func (cp *ControlPlane) Namespace(t TB) string {
	t.Helper()
	cp.requireLive(t)
	client, err := cp.client()
	if err != nil {
		t.Fatalf("controlplanetest: Namespace: %v", err)
	}
	ctx, cancel := context.WithTimeout(cp.ctx, namespaceTimeout)
	defer cancel()
	namespace, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{GenerateName: namespacePrefix(t.Name())},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("controlplanetest: Namespace: %v", err)
	}
	name := namespace.Name
	t.Cleanup(func() {
		t.Helper()
		// A control plane that stops needs no cleanup.
		if t.Failed() || !cp.outlives() {
			return
		}
		if err := client.CoreV1().Namespaces().Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil && !gone(err) {
			t.Errorf("controlplanetest: Namespace: %v", err)
		}
	})
	cp.watch(t)
	if !cp.config.ControlPlane.DisableCoreControllers {
		if err := waitForServiceAccount(ctx, client, name); err != nil {
			t.Fatalf("controlplanetest: Namespace %s: %v", name, err)
		}
	}
	return name
}

// outlives reports whether later tests or runs see the objects that the test leaves.
func (cp *ControlPlane) outlives() bool {
	return !cp.dead() && (cp.shared || cp.config.durable())
}

// maxNamespacePrefix leaves room for the random end that the API server adds.
const maxNamespacePrefix = validation.DNS1123LabelMaxLength - 5

// namespacePrefix returns the beginning of the name of a test's namespace.
func namespacePrefix(test string) string {
	prefix := strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			return r
		default:
			return '-'
		}
	}, test)
	if prefix = strings.Trim(prefix, "-"); prefix == "" {
		prefix = "test"
	}
	return prefix[:min(len(prefix), maxNamespacePrefix-1)] + "-"
}

// waitForServiceAccount returns when pods can be created in the namespace.
func waitForServiceAccount(ctx context.Context, client kubernetes.Interface, namespace string) error {
	accounts := client.CoreV1().ServiceAccounts(namespace)
	events, err := accounts.Watch(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, "default").String(),
	})
	if err != nil {
		return fmt.Errorf("watch service account default: %w", err)
	}
	defer events.Stop()
	for event := range events.ResultChan() {
		switch event.Type {
		case watch.Added, watch.Modified:
			return nil
		case watch.Error:
			return fmt.Errorf("watch service account default: %w", apierrors.FromObject(event.Object))
		}
	}
	return fmt.Errorf("no service account default within %v: %w", namespaceTimeout, context.Cause(ctx))
}

// gone reports whether a delete failed because the object was deleted before.
func gone(err error) bool { return apierrors.IsNotFound(err) || apierrors.IsConflict(err) }
