// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

// TestRefusals: errors of requests have upstream's texts, in-process and over TLS.
func TestRefusals(t *testing.T) {
	server := start(t, controlplane.Config{})
	for name, client := range map[string]*kubernetes.Clientset{
		"in-process": admin(t, server),
		"TLS":        overTLS(t, server, "admin", "system:masters"),
	} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			// First: a 503 would mean "not known yet", which must not happen after Start.
			for _, path := range []string{"/apis/example.com/v1/widgets", "/api/v1/widgets", "/apis/example.com", "/nonsense"} {
				wantStatus(t, path, client.RESTClient().Get().AbsPath(path).Do(ctx).Error(), 404)
			}

			pod := newPod("Not_A_Name")
			pod.Spec.Containers[0].Image = ""
			_, err := client.CoreV1().Pods("default").Create(ctx, pod, metav1.CreateOptions{})
			wantStatus(t, "invalid pod", err, 422)
			wantCauses(t, err, "metadata.name", "spec.containers[0].image")

			_, err = client.CoreV1().Pods("missing").Create(ctx, newPod("a"), metav1.CreateOptions{})
			wantStatus(t, "pod in no namespace", err, 404)

			_, err = client.CoreV1().RESTClient().Post().AbsPath("/api/v1/namespaces/default/pods").
				SetHeader("Content-Type", "application/json").Body([]byte(`{"kind":"Pod",`)).DoRaw(ctx)
			wantStatus(t, "half a document", err, 400)

			_, err = client.CoreV1().RESTClient().Post().AbsPath("/api/v1/namespaces/default/pods").
				SetHeader("Content-Type", "text/plain").Body([]byte(`pod`)).DoRaw(ctx)
			wantStatus(t, "plain text", err, 415)

			// Upstream has two limits: 3 MiB for a request, and etcd's 1.5 MiB.
			big := newPod("big")
			big.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "BIG", Value: strings.Repeat("x", 4<<20)}}
			_, err = client.CoreV1().Pods("default").Create(ctx, big, metav1.CreateOptions{})
			wantStatus(t, "request of 4 MiB", err, 413)
			big.Spec.Containers[0].Env[0].Value = strings.Repeat("x", 2<<20)
			_, err = client.CoreV1().Pods("default").Create(ctx, big, metav1.CreateOptions{})
			wantStatus(t, "object of 2 MiB", err, 500)
			if err != nil && !strings.Contains(err.Error(), "request is too large") {
				t.Errorf("object of 2 MiB: got %v, want request is too large", err)
			}
			if got := podNames(t, client); len(got) != 0 {
				t.Errorf("pods: got %v, want none", got)
			}
		})
	}
}

// wantCauses checks the fields that a response names.
func wantCauses(t *testing.T, err error, fields ...string) {
	t.Helper()
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil {
		t.Errorf("got %v, want details", err)
		return
	}
	var named []string
	for _, cause := range status.Status().Details.Causes {
		named = append(named, cause.Field)
	}
	for _, field := range fields {
		if !slices.Contains(named, field) {
			t.Errorf("got %v, want %s named", err, field)
		}
	}
}
