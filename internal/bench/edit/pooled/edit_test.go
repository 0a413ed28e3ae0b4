// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package pooled has the test that is edited and run again.
package pooled

import (
	"os"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kubembed/kubembed/pkg/pool/controlplanetest"
)

const name = "edited" // The bench changes this line.

func TestPod(t *testing.T) {
	if os.Getenv("BENCH_POOL") == "" {
		t.Skip("BENCH_POOL is not set: go run ./internal/bench sets it")
	}
	cp := controlplanetest.New(t, controlplanetest.Config{})
	client, err := kubernetes.NewForConfig(cp.ClientConfig())
	if err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "example.com/main"}}},
	}
	if _, err := client.CoreV1().Pods(metav1.NamespaceDefault).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}
