// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

// TestDisksFaultsAreLogged: a full disk and a disk that hangs are logged.
func TestDisksFaultsAreLogged(t *testing.T) {
	disk := smallDisk(t, 450)
	t.Cleanup(controlplane.SetHealth(50*time.Millisecond, time.Second))
	logger, logs := observed(zapcore.InfoLevel)
	server := start(t, controlplane.Config{DataDir: filepath.Join(disk, "data"), Logger: logger})
	client := admin(t, server)
	filler := leave(t, disk, 1)
	logLine(t, logs, zapcore.WarnLevel, "the control plane is not ready", "check", "etcd-space", "error", "bytes are free")
	if err := filler.Truncate(0); err != nil {
		t.Fatal(err)
	}
	logLine(t, logs, zapcore.InfoLevel, "the control plane is ready again", "check", "etcd-space")

	thaw := freeze(t, disk)
	written := make(chan struct{})
	go func() {
		defer close(written)
		putConfigMap(t, client, "held", "x")
	}()
	logLine(t, logs, zapcore.WarnLevel, "the control plane is not ready", "check", "etcd", "error", "hung")
	thaw()
	<-written
	logLine(t, logs, zapcore.InfoLevel, "the control plane is ready again", "check", "etcd")
}
