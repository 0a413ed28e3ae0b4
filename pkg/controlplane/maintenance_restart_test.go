// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// fillUp creates objects until one is refused for lack of space, and returns their names.
func fillUp(t *testing.T, client kubernetes.Interface, prefix string, most int) (names []string) {
	t.Helper()
	value := strings.Repeat("x", 200_000)
	for i := range most {
		name := fmt.Sprintf("%s-%d", prefix, i)
		if _, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), configMap(name, value), metav1.CreateOptions{}); err != nil {
			if !strings.Contains(err.Error(), "database space exceeded") {
				t.Fatalf("a write: got %v, want database space exceeded", err)
			}
			return names
		}
		names = append(names, name)
	}
	t.Fatalf("got %d objects created, want one to be refused", most)
	return nil
}

// startsAgain starts on a DataDir without space for writes, and frees space.
func startsAgain(t *testing.T, cfg controlplane.Config, names []string) {
	t.Helper()
	begin := time.Now()
	server, err := controlplane.Start(t.Context(), cfg)
	t.Logf("the start took %v", time.Since(begin))
	if err != nil {
		t.Fatal(err)
	}
	defer closeServer(t, server)
	client := admin(t, server)
	t.Logf("ready: %s", spaceCheck(t, client))
	for _, name := range names {
		if err := client.CoreV1().ConfigMaps("default").Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	testwait.True(t, "the readiness check is green", func() bool { return spaceCheck(t, client) == "" })
	putConfigMap(t, client, "after", "x")
}

// TestStartAtTheQuota: a control plane with a full database starts, so that clients can
// free space.
func TestStartAtTheQuota(t *testing.T) {
	cfg := controlplane.Config{DataDir: t.TempDir(), Etcd: controlplane.Etcd{QuotaBytes: 24 << 20}}
	server := start(t, cfg)
	names := fillUp(t, admin(t, server), "fill", 1000)
	closeServer(t, server)
	startsAgain(t, cfg, names)
}

// TestStartWithASmallQuota: a quota that is too small is refused with its name. The
// minimum is enough for two starts.
func TestStartWithASmallQuota(t *testing.T) {
	cfg := controlplane.Config{DataDir: t.TempDir(), Etcd: controlplane.Etcd{QuotaBytes: 2<<20 - 1}}
	if err := cfg.Validate(); err == nil || lacks(err.Error(), "Etcd.QuotaBytes", "at least 2097152") != "" {
		t.Errorf("error %v, want one about Etcd.QuotaBytes", err)
	}
	cfg.Etcd.QuotaBytes++
	for try := range 2 {
		server := start(t, cfg)
		if text := spaceCheck(t, admin(t, server)); text != "" {
			t.Errorf("the readiness check: got %s, want it green", text)
		}
		putConfigMap(t, admin(t, server), fmt.Sprint("written-", try), "x")
		closeServer(t, server)
	}
}
