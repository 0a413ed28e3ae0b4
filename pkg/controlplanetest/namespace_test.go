// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"github.com/kubembed/kubembed/pkg/controlplanetest"
)

func createPod(t controlplanetest.TB, client kubernetes.Interface, namespace string) {
	t.Helper()
	_, err := client.CoreV1().Pods(namespace).Create(context.Background(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "pod-"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "registry.k8s.io/pause"}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("%v", err)
	}
}

// TestNamespace creates the first namespace of a control plane, whose controllers have
// hardly started, and many at once.
func TestNamespace(t *testing.T) {
	t.Parallel()
	for name, get := range planes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cp := get(t)
			client := kubernetes.NewForConfigOrDie(cp.ClientConfig())
			var names sync.Map
			var group wait.Group
			for range 20 {
				group.Start(func() {
					var r recorder
					r.run(func(t controlplanetest.TB) {
						namespace := cp.Namespace(t)
						if _, err := client.CoreV1().ServiceAccounts(namespace).Get(context.Background(), "default", metav1.GetOptions{}); err != nil {
							t.Errorf("%v", err)
						}
						createPod(t, client, namespace)
						if _, twice := names.LoadOrStore(namespace, true); twice {
							t.Errorf("%s was there already", namespace)
						}
					})
					if r.failed {
						t.Error(r.text())
					}
				})
			}
			group.Wait()
		})
	}
}

func TestNamespaceName(t *testing.T) {
	t.Parallel()
	cp := controlplanetest.Shared(t)
	for test, prefix := range map[string]string{
		"TestFoo/a_case/with spaces#01":      "testfoo-a-case-with-spaces-01-",
		"Test" + strings.Repeat("Long", 30):  "testlonglonglong",
		"[It] Widgets — are made (ünïcödé) ": "it--widgets---are-made---n-c-d-",
		"/": "test-",
	} {
		r := recorder{name: test}
		r.run(func(t controlplanetest.TB) {
			name := cp.Namespace(t)
			if problems := validation.IsDNS1123Label(name); len(problems) > 0 || !strings.HasPrefix(name, prefix) {
				t.Errorf("%q: %q %v", test, name, problems)
			}
		})
		if r.failed {
			t.Error(r.text())
		}
	}
}

// TestNamespaceIsDeleted: the namespace of a test that passed is deleted, and that of a
// failed one is not.
func TestNamespaceIsDeleted(t *testing.T) {
	t.Parallel()
	cp := controlplanetest.Shared(t)
	client := kubernetes.NewForConfigOrDie(cp.ClientConfig())
	for _, fail := range []bool{false, true} {
		var name string
		var r recorder
		r.run(func(t controlplanetest.TB) {
			name = controlplanetest.Shared(t).Namespace(t)
			if fail {
				t.Errorf("on purpose")
			}
		})
		namespace, err := client.CoreV1().Namespaces().Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if deleted := namespace.DeletionTimestamp != nil; deleted == fail {
			t.Errorf("failed %v, deleted %v", fail, deleted)
		}
	}
}
