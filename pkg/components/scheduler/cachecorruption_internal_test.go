// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package scheduler

import (
	"context"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/scheduler/backend/cache"
	"k8s.io/kubernetes/pkg/scheduler/metrics"
)

// Upstream exits the process here, after ten seconds at most.
func TestCorruptedCacheEndsRunWithoutExit(t *testing.T) {
	metrics.Register()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	logs, seen := observer.New(zap.DebugLevel)
	logger := newLogger(t.Context(), zap.New(logs), func() { cancel(errCacheCorrupted) })
	c := cache.New(klog.NewContext(ctx, logger), nil, false, false)
	before := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "pod", UID: "1"}, Spec: corev1.PodSpec{NodeName: "a"}}
	after := before.DeepCopy()
	after.Spec.NodeName = "b"
	if err := c.AddPod(logger, before); err != nil {
		t.Fatal(err)
	}

	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = c.UpdatePod(logger, before, after)
		t.Error("the update returned")
	}()
	<-ended
	if context.Cause(ctx) != errCacheCorrupted {
		t.Error("the run goes on")
	}
	entries := seen.FilterLevelExact(zap.WarnLevel).All()
	if len(entries) == 0 || entries[0].ContextMap()["pod"] != "pod" {
		t.Errorf("logged: %+v", seen.All())
	}
	if _, err := c.PodCount(); err != nil { // the lock was left
		t.Error(err)
	}
}
