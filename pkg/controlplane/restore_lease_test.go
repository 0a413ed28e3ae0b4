// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"context"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubembed/kubembed/internal/lifecycle"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// TestStartAfterRestoreIsNoCrash: the snapshot has the endpoints of the server that ran
// at its time, from which upstream would infer a crash.
func TestStartAfterRestoreIsNoCrash(t *testing.T) {
	server := start(t, controlplane.Config{DataDir: t.TempDir()})
	endpoints := admin(t, server).CoreV1().Endpoints(metav1.NamespaceDefault)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	err := lifecycle.Poll(ctx, func() bool {
		found, err := endpoints.Get(ctx, "kubernetes", metav1.GetOptions{})
		return err == nil && len(found.Subsets) > 0
	})
	if err != nil {
		t.Skip("a machine that has loopback addresses only")
	}
	snapshot := snapshotOf(t, server)
	closeServer(t, server)

	core, logs := observer.New(zap.WarnLevel)
	server = start(t, controlplane.Config{DataDir: restored(t, snapshot, controlplane.RestoreConfig{}), Logger: zap.New(core)})
	closeServer(t, server)
	for _, entry := range logs.All() {
		t.Errorf("log: got %s: %s: %v, want nothing", entry.Level, entry.Message, entry.ContextMap())
	}
}
