// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubembed/kubembed/internal/etcdtest"
	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/controlplane"
	"github.com/kubembed/kubembed/pkg/etcd"
)

// TestEventsInTheirOwnEtcd: Events outlive a restart in another etcd, and a control plane
// of another cluster cannot use it. The log says that snapshots do not contain them.
func TestEventsInTheirOwnEtcd(t *testing.T) {
	events := etcdtest.Start(t)
	core, logs := observer.New(zapcore.WarnLevel)
	cfg := controlplane.Config{
		DataDir: filepath.Join(t.TempDir(), "data"), Logger: zap.New(core),
		Etcd: controlplane.Etcd{Overrides: []controlplane.EtcdOverride{{Resources: []string{"events"}, Endpoints: []string{events.Endpoint()}}}},
	}
	server := start(t, cfg)
	if _, err := admin(t, server).CoreV1().Events("default").Create(t.Context(), &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: "kept"}, InvolvedObject: corev1.ObjectReference{Namespace: "default"},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	stored, err := events.Client(t).Get(t.Context(), "/registry/events/default/", clientv3.WithPrefix())
	if err != nil || len(stored.Kvs) == 0 {
		t.Errorf("got %v, %v in the etcd of Events, want the Event", stored, err)
	}
	closeServer(t, server)
	if n := logs.FilterMessageSnippet("snapshots and checkpoints do not contain").Len(); n != 1 {
		t.Errorf("the log has %d warnings about snapshots, want 1", n)
	}

	server = start(t, cfg)
	if _, err := admin(t, server).CoreV1().Events("default").Get(t.Context(), "kept", metav1.GetOptions{}); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	other := cfg
	other.DataDir = filepath.Join(t.TempDir(), "other")
	if _, err := controlplane.Start(t.Context(), other); !errors.Is(err, etcd.ErrOtherCluster) || !strings.Contains(err.Error(), "Config.Etcd.Overrides[0]") {
		t.Errorf("another cluster: got error %v, want ErrOtherCluster for Config.Etcd.Overrides[0]", err)
	}
}

// TestOverrideThatDoesNotAnswer: the start fails, and names the field.
func TestOverrideThatDoesNotAnswer(t *testing.T) {
	events := etcdtest.Start(t)
	events.Stop()
	_, err := controlplane.Start(t.Context(), controlplane.Config{
		Etcd: controlplane.Etcd{Overrides: []controlplane.EtcdOverride{{Resources: []string{"events"}, Endpoints: []string{events.Endpoint()}}}},
	})
	if !errors.Is(err, etcd.ErrUnreachable) || !strings.Contains(err.Error(), "Config.Etcd.Overrides[0]") {
		t.Errorf("got error %v, want ErrUnreachable for Config.Etcd.Overrides[0]", err)
	}
}

// TestBadOverrides: each error names the Go field.
func TestBadOverrides(t *testing.T) {
	overrides := func(all ...controlplane.EtcdOverride) controlplane.Config {
		return controlplane.Config{Etcd: controlplane.Etcd{Overrides: all}}
	}
	endpoints := []string{"http://127.0.0.1:1"}
	for _, test := range []struct {
		config controlplane.Config
		want   string
	}{
		{overrides(controlplane.EtcdOverride{Endpoints: endpoints}), "Etcd.Overrides[0].Resources: Required"},
		{overrides(controlplane.EtcdOverride{Resources: []string{"events"}}), "Etcd.Overrides[0].Endpoints: Required"},
		{overrides(controlplane.EtcdOverride{Resources: []string{"events"}, Endpoints: []string{"127.0.0.1"}}), "Etcd.Overrides[0].Endpoints[0]"},
		{overrides(controlplane.EtcdOverride{Resources: []string{"events"}, Endpoints: endpoints, CA: "ca.crt"}), "Etcd.Overrides[0].CA: Forbidden"},
		{overrides(controlplane.EtcdOverride{Resources: []string{"namespaces"}, Endpoints: endpoints}), "Etcd.Overrides[0].Resources[0]: Forbidden"},
		{controlplane.Config{Limits: apiserver.Limits{DisableCompaction: true}}, "Limits.DisableCompaction: Forbidden"},
		{controlplane.Config{Limits: apiserver.Limits{WatchCacheSizes: map[string]int{"widgets.example.com": 0}}}, "Limits.WatchCacheSizes[widgets.example.com]"},
		{controlplane.Config{Audit: apiserver.Audit{Sinks: []apiserver.AuditSink{{Name: "without a function"}}}}, "Audit.Sinks[0].Events: Required"},
	} {
		if err := test.config.Validate(); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("got error %v, want %q", err, test.want)
		}
	}
}
