// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// spaceCheck returns the text of the readiness check, or "" if it is green.
func spaceCheck(t testing.TB, client kubernetes.Interface) string {
	t.Helper()
	body, err := client.Discovery().RESTClient().Get().AbsPath("/readyz/etcd-space").DoRaw(t.Context())
	if err != nil {
		return fmt.Sprintf("%s %v", body, err)
	}
	return ""
}

// TestQuotaShowsAndClears: no restart is needed.
func TestQuotaShowsAndClears(t *testing.T) {
	server := start(t, controlplane.Config{Etcd: controlplane.Etcd{QuotaBytes: 24 << 20}})
	client := admin(t, server)
	value := strings.Repeat("x", 200_000)
	var refused error
	n := 0
	for ; refused == nil; n++ {
		_, refused = client.CoreV1().ConfigMaps("default").Create(t.Context(), configMap(fmt.Sprintf("fill-%d", n), value), metav1.CreateOptions{})
	}
	if !strings.Contains(refused.Error(), "database space exceeded") {
		t.Fatalf("a write: got %v, want database space exceeded", refused)
	}
	if text := spaceCheck(t, client); !strings.Contains(text, "QuotaBytes") {
		t.Errorf("the readiness check: got %q, want QuotaBytes", text)
	}
	if err := client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(t.Context()).Error(); err == nil {
		t.Error("/readyz: got no error, want one")
	}
	if status, err := server.EtcdStatus(t.Context()); err != nil || len(status.Alarms) == 0 {
		t.Errorf("status: got %+v, %v, want an alarm", status, err)
	}
	for i := range n - 1 {
		if err := client.CoreV1().ConfigMaps("default").Delete(t.Context(), fmt.Sprintf("fill-%d", i), metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	testwait.True(t, "the readiness check is green", func() bool { return spaceCheck(t, client) == "" })
	putConfigMap(t, client, "after", "x")
}

func TestStorageSizeIsMeasured(t *testing.T) {
	one, two := start(t, controlplane.Config{}), start(t, controlplane.Config{})
	sizes := func() (n int) {
		families, err := legacyregistry.DefaultGatherer.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, family := range families {
			if family.GetName() != "apiserver_storage_size_bytes" {
				continue
			}
			for _, metric := range family.Metric {
				if metric.GetGauge().GetValue() > 0 {
					n++
				}
			}
		}
		return n
	}
	if n := sizes(); n != 2 {
		t.Errorf("sizes of two control planes: got %d, want 2", n)
	}
	closeServer(t, one)
	if n := sizes(); n != 1 {
		t.Errorf("sizes of one control plane: got %d, want 1", n)
	}
	closeServer(t, two)
}

func TestSnapshotsWithoutADirectory(t *testing.T) {
	err := controlplane.Config{Snapshots: controlplane.Snapshots{Interval: 1}}.Validate()
	if err == nil || !strings.Contains(err.Error(), "Snapshots.Dir") {
		t.Errorf("error %v, want one about Snapshots.Dir", err)
	}
	err = controlplane.Config{DataDir: "x", Snapshots: controlplane.Snapshots{Keep: 1}}.Validate()
	if err == nil || !strings.Contains(err.Error(), "Snapshots.Interval") {
		t.Errorf("error %v, want one about Snapshots.Interval", err)
	}
}
