// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap/zapcore"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

// TestFullQuotaIsLogged: the log reports that writes are refused and accepted again.
func TestFullQuotaIsLogged(t *testing.T) {
	t.Cleanup(controlplane.SetHealth(50*time.Millisecond, 10*time.Second))
	logger, logs := observed(zapcore.InfoLevel)
	client := admin(t, start(t, controlplane.Config{Logger: logger, Etcd: controlplane.Etcd{QuotaBytes: 24 << 20}}))
	value := strings.Repeat("x", 500_000)
	n := 0
	for ; ; n++ {
		if _, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), configMap(fmt.Sprintf("fill-%d", n), value), metav1.CreateOptions{}); err != nil {
			break
		}
	}
	logLine(t, logs, zapcore.WarnLevel, "the control plane is not ready", "check", "etcd-space", "error", "QuotaBytes")
	for i := range n {
		if err := client.CoreV1().ConfigMaps("default").Delete(t.Context(), fmt.Sprintf("fill-%d", i), metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	logLine(t, logs, zapcore.InfoLevel, "the control plane is ready again", "check", "etcd-space", "after", "")
	logLine(t, logs, zapcore.InfoLevel, "database is below the quota again", "size", "")
	if n := logs.FilterMessage("the control plane is not ready").Len(); n != 1 {
		t.Errorf("lines about the fault: got %d, want 1", n)
	}
}
