// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package informers

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestRecentPod: an informer gets a recent pod of the same version, and its own pod if
// the recent one has another version.
func TestRecentPod(t *testing.T) {
	pod := func(version string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a", UID: "1", ResourceVersion: version}}
	}
	pods, shared := NewSharedPods(t.Context()), pod("1")
	pods.recent.Add(shared.UID, shared)
	if got, err := pods.Transform(pod("1")); err != nil || got != any(shared) {
		t.Errorf("the same version: got %p, %v, want %p", got, err, shared)
	}
	newer := pod("2")
	if got, err := pods.Transform(newer); err != nil || got != any(newer) {
		t.Errorf("a newer version: got %p, %v, want %p", got, err, newer)
	}
}
