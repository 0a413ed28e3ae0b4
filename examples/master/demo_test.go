// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

// TestDemo: one command shows a running Deployment and its logs.
func TestDemo(t *testing.T) {
	dataDir := "--data-dir=" + filepath.Join(t.TempDir(), "data")
	for range 2 { // the second finds the Deployment
		m := start(t, "--demo", dataDir)
		for _, node := range []string{"node-0", "node-1", "node-2"} {
			if pods := regexp.MustCompile(`(?m)^ +web-\S+ +Running +`+node+`$`).FindAllString(m.stdout.String(), -1); len(pods) != 1 {
				t.Errorf("%d pods run on %s:\n%s", len(pods), node, m.stdout)
			}
		}
		want(t, m, "Hello. This container is simulated", "logs deployment/web", "3 of them are simulated")
		m.end(t)
	}
}

func TestSimulatedNodes(t *testing.T) {
	m := start(t, "--simulated-nodes=2")
	want(t, m, "2 of them are simulated", `--overrides='{"spec":{"nodeName":"node-0"}}'`)
	client, _ := m.client(t, adminFile)
	nodes, err := client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil || len(nodes.Items) != 2 {
		t.Errorf("%v: %v", err, nodes)
	}
}

// Simulated nodes are reachable at the address of the control plane.
func TestNodeAddress(t *testing.T) {
	for bind, want := range map[string]string{"127.0.0.1:6443": "", "localhost:1": "", "[::1]:0": "", "192.0.2.7:6443": "192.0.2.7:0", "nonsense": ""} {
		if got := (options{bindAddress: bind}).nodeAddress(); got != want {
			t.Errorf("%s: %q, want %q", bind, got, want)
		}
	}
}

// TestSnapshotsRestoreAndEncryption: with the flags for these, a Secret is not readable
// on the disk, and exists in a data directory that is restored from a snapshot.
func TestSnapshotsRestoreAndEncryption(t *testing.T) {
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	random := make([]byte, 32)
	_, _ = rand.Read(random)
	if err := os.WriteFile(key, []byte(base64.StdEncoding.EncodeToString(random)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	keys := []string{"--encryption-key-file=" + key, "--snapshot-key-file=" + key}
	first := filepath.Join(dir, "first")
	const plain = "attack at dawn"

	m := start(t, append(keys, "--data-dir="+first)...)
	client, _ := m.client(t, adminFile)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "plan"}, StringData: map[string]string{"plan": plain}}
	if _, err := client.CoreV1().Secrets("default").Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	m.end(t)
	err := os.Remove(filepath.Join(first, "cluster.json"))
	if err == nil {
		err = checkDataDir(first) // its next start writes the record again
	}
	if err != nil {
		t.Error(err)
	}
	err = filepath.WalkDir(first, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte(plain)) {
			t.Errorf("%s has the Secret in the clear", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}

	backup := filepath.Join(dir, "backup")
	m = start(t, append(keys, "--data-dir="+first, "--snapshot-interval=1s", "--snapshot-keep=2", "--snapshot-dir="+backup)...)
	snapshot := filepath.Join(dir, "snapshot.tar")
	if err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
		found, err := controlplane.ListSnapshots(backup)
		// The oldest may be deleted meanwhile.
		return len(found) > 0 && os.Link(found[0].Path, snapshot) == nil, err
	}); err != nil {
		t.Fatalf("no snapshot: %v", err)
	}
	m.end(t)

	second := "--data-dir=" + filepath.Join(dir, "second")
	m = start(t, append(keys, second, "--restore="+snapshot)...)
	client, _ = m.client(t, adminFile)
	secret, err = client.CoreV1().Secrets("default").Get(t.Context(), "plan", metav1.GetOptions{})
	if err != nil || string(secret.Data["plan"]) != plain {
		t.Errorf("after the restore: %v, %q", err, secret.Data)
	}
	m.end(t)
	if err := fails(t, append(keys, "--bind-address=127.0.0.1:0", second, "--restore="+snapshot)...); !strings.Contains(err.Error(), "leave --restore out") {
		t.Error(err)
	}
}
