// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kubembed/kubembed/pkg/pool/controlplanetest"
)

func TestNew(t *testing.T) {
	for range 3 {
		t.Run("one", func(t *testing.T) {
			cp := controlplanetest.New(t, controlplanetest.Config{})
			client := kubernetes.NewForConfigOrDie(cp.ClientConfig())
			settings := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings"}}
			if _, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), settings, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestShared(t *testing.T) {
	cp := controlplanetest.Shared(t)
	cp.Namespace(t)
	cp.Reset(t)
}
