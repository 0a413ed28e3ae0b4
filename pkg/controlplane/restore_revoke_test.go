// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"bytes"
	"crypto/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/controlplane"
	"github.com/kubembed/kubembed/pkg/etcd"
)

// restored returns a new DataDir with the content of a snapshot.
func restored(t *testing.T, snapshot []byte, cfg controlplane.RestoreConfig) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "data")
	if err := controlplane.Restore(t.Context(), dir, bytes.NewReader(snapshot), cfg); err != nil {
		t.Fatal(err)
	}
	return dir
}

// storedKeys are the keys in the etcd of a DataDir, without their prefix.
func storedKeys(t *testing.T, dir string) (keys []string) {
	t.Helper()
	member, err := etcd.Start(t.Context(), etcd.Config{Dir: filepath.Join(dir, "etcd"), Ephemeral: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := member.Close(); err != nil {
			t.Error(err)
		}
	}()
	all, err := member.Client().Get(t.Context(), "/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range all.Kvs {
		_, key, _ := strings.Cut(string(kv.Key)[1:], "/")
		keys = append(keys, key)
	}
	return keys
}

func putSecret(t *testing.T, server *controlplane.Server, secret *corev1.Secret) {
	t.Helper()
	if _, err := admin(t, server).CoreV1().Secrets(secret.Namespace).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// TestRestoreKeepsRevocations: a join file that was revoked after the snapshot stays
// revoked, whatever the kind of snapshot and restore.
func TestRestoreKeepsRevocations(t *testing.T) {
	origin := t.TempDir()
	server := start(t, controlplane.Config{DataDir: origin})
	address := hostPort(t, server.URL())
	revoked, other := joinKubeconfig(t, server, 0), joinKubeconfig(t, server, 0)
	revokedName, _ := joinUser(t, revoked)
	otherName, _ := joinUser(t, other)
	if err := canRequest(t.Context(), t, clientFor(t, fromKubeconfig(t, revoked)), "of-a-thief"); err != nil {
		t.Fatal(err)
	}
	if err := canRequest(t.Context(), t, admin(t, server), "of-an-admin"); err != nil {
		t.Fatal(err)
	}
	// They look like tokens but are none.
	putSecret(t, server, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "bootstrap-token-opaque"}})
	putSecret(t, server, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "bootstrap-token-abcdef"}})
	snapshot := snapshotOf(t, server)
	if err := server.RevokeJoinKubeconfig(t.Context(), revoked); err != nil {
		t.Fatal(err)
	}
	closeServer(t, server)

	stays := []string{"secrets/kube-system/bootstrap-token-opaque", "secrets/default/bootstrap-token-abcdef", "certificatesigningrequests/of-an-admin"}
	goes := []string{"secrets/kube-system/" + revokedName, "secrets/kube-system/" + otherName, "certificatesigningrequests/of-a-thief"}
	check := func(t *testing.T, dir string) {
		t.Helper()
		keys := storedKeys(t, dir)
		for _, key := range stays {
			if !slices.Contains(keys, key) {
				t.Errorf("got no %s, want it restored", key)
			}
		}
		for _, key := range goes {
			if slices.Contains(keys, key) {
				t.Errorf("got %s restored, want it dropped", key)
			}
		}
	}
	t.Run("a snapshot", func(t *testing.T) {
		core, logs := observer.New(zap.WarnLevel)
		dir := restored(t, snapshot, controlplane.RestoreConfig{Logger: zap.New(core)})
		check(t, dir)
		server := start(t, controlplane.Config{DataDir: dir, BindAddress: address})
		for name, file := range map[string][]byte{"revoked": revoked, "other": other} {
			if err := canRequest(t.Context(), t, clientFor(t, fromKubeconfig(t, file)), name); !apierrors.IsUnauthorized(err) {
				t.Errorf("the %s join file: %v, want that nobody is authenticated by it", name, err)
			}
		}
		if err := canRequest(t.Context(), t, clientFor(t, fromKubeconfig(t, joinKubeconfig(t, server, 0))), "new"); err != nil {
			t.Errorf("a new join file: %v", err)
		}
		said := logs.FilterMessageSnippet("join file").All()
		if len(said) != 1 {
			t.Fatalf("log: got %v, want one line about JoinKubeconfig", logs.All())
		}
		names := []any{revokedName, otherName}
		slices.SortFunc(names, func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
		if got := said[0].ContextMap(); !slices.Equal(got["tokens"].([]any), names) || !slices.Equal(got["certificate-requests"].([]any), []any{"of-a-thief"}) {
			t.Errorf("log: got %v, want the tokens %v and the request of-a-thief", got, names)
		}
	})
	t.Run("a database of etcdctl", func(t *testing.T) {
		check(t, restored(t, unpack(t, snapshot)["etcd.db"], controlplane.RestoreConfig{}))
	})
	t.Run("in place", func(t *testing.T) {
		if err := os.RemoveAll(filepath.Join(origin, "etcd")); err != nil {
			t.Fatal(err)
		}
		if err := controlplane.Restore(t.Context(), origin, bytes.NewReader(snapshot), controlplane.RestoreConfig{}); err != nil {
			t.Fatal(err)
		}
		check(t, origin)
	})
	t.Run("KeepJoinKubeconfigs", func(t *testing.T) {
		keys := storedKeys(t, restored(t, snapshot, controlplane.RestoreConfig{KeepJoinKubeconfigs: true}))
		for _, key := range append(goes, stays...) {
			if !slices.Contains(keys, key) {
				t.Errorf("got no %s, want it restored", key)
			}
		}
	})
}

// TestRestoreKeepsRevocationsOfEncryptedTokens: Restore has no keys, and identifies
// tokens by their names.
func TestRestoreKeepsRevocationsOfEncryptedTokens(t *testing.T) {
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	server := start(t, controlplane.Config{
		Etcd:       controlplane.Etcd{Prefix: "/somewhere"},
		Encryption: apiserver.Encryption{Keys: []apiserver.EncryptionKey{{Secretbox: key}}},
	})
	name, _ := joinUser(t, joinKubeconfig(t, server, 0))
	putSecret(t, server, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "kept"}})
	snapshot := snapshotOf(t, server)
	closeServer(t, server)
	keys := storedKeys(t, restored(t, snapshot, controlplane.RestoreConfig{}))
	if slices.Contains(keys, "secrets/kube-system/"+name) {
		t.Error("got the token restored, want it dropped")
	}
	if !slices.Contains(keys, "secrets/kube-system/kept") {
		t.Error("got a Secret dropped, want it restored")
	}
}
