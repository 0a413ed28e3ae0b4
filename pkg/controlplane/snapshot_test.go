// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/controlplane"
	"github.com/kubembed/kubembed/pkg/etcd"
)

func snapshotOf(t testing.TB, server *controlplane.Server) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := server.Snapshot(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func configMap(name, value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"v": value}}
}

func putConfigMap(t testing.TB, client kubernetes.Interface, name, value string) {
	t.Helper()
	object := configMap(name, value)
	_, err := client.CoreV1().ConfigMaps("default").Update(t.Context(), object, metav1.UpdateOptions{})
	if err != nil {
		_, err = client.CoreV1().ConfigMaps("default").Create(t.Context(), object, metav1.CreateOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// seen are the events of an informer of the ConfigMaps in default.
type seen struct {
	mu     sync.Mutex
	values map[string]string
}

func (s *seen) note(deleted bool) func(any) {
	return func(object any) {
		if gone, ok := object.(cache.DeletedFinalStateUnknown); ok {
			object = gone.Obj
		}
		m := object.(*corev1.ConfigMap)
		s.mu.Lock()
		defer s.mu.Unlock()
		if deleted {
			delete(s.values, m.Name)
			return
		}
		s.values[m.Name] = m.Data["v"]
	}
}

func (s *seen) value(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.values[name]
}

// TestRestoreUnderALiveInformer: informers that run on another machine during a restore
// drop the objects from after the snapshot.
func TestRestoreUnderALiveInformer(t *testing.T) {
	server := start(t, controlplane.Config{DataDir: t.TempDir()})
	client := admin(t, server)
	putConfigMap(t, client, "kept", "at the snapshot")
	kubeconfig, err := server.Kubeconfig("jane", "system:masters")
	if err != nil {
		t.Fatal(err)
	}
	token := robotToken(t, client)
	ca, address := server.CABundle(), hostPort(t, server.URL())
	data := snapshotOf(t, server)

	told := &seen{values: map[string]string{}}
	factory := informers.NewSharedInformerFactoryWithOptions(clientFor(t, fromKubeconfig(t, kubeconfig)), 0, informers.WithNamespace("default"))
	informer := factory.Core().V1().ConfigMaps().Informer()
	update := told.note(false)
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: update, UpdateFunc: func(_, now any) { update(now) }, DeleteFunc: told.note(true),
	}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	factory.Start(ctx.Done())
	defer factory.Shutdown()
	defer cancel()
	putConfigMap(t, client, "kept", "after the snapshot")
	putConfigMap(t, client, "lost", "x")
	testwait.True(t, "the informer sees the write", func() bool {
		return told.value("kept") == "after the snapshot" && told.value("lost") == "x"
	})
	before := version(t, informer.LastSyncResourceVersion())
	closeServer(t, server)

	dir := filepath.Join(t.TempDir(), "data")
	if err := controlplane.Restore(t.Context(), dir, bytes.NewReader(data), controlplane.RestoreConfig{}); err != nil {
		t.Fatal(err)
	}
	server = start(t, controlplane.Config{DataDir: dir, BindAddress: address})
	testwait.True(t, "the informer sees the restored value", func() bool {
		return told.value("kept") == "at the snapshot" && told.value("lost") == ""
	})
	if now := version(t, informer.LastSyncResourceVersion()); now <= before+int64(etcd.DefaultRevisionBump)/2 {
		t.Errorf("version of the informer: got %d, want more than that before the restore, which is %d, and half a bump", now, before)
	}
	putConfigMap(t, admin(t, server), "kept", "after the restore")
	testwait.True(t, "the informer goes on", func() bool { return told.value("kept") == "after the restore" })

	// The identities are the same.
	if !bytes.Equal(server.CABundle(), ca) {
		t.Error("got another CA, want the one of before")
	}
	wantUser(t, clientFor(t, fromKubeconfig(t, kubeconfig)), "jane", "system:masters")
	wantUser(t, clientFor(t, &rest.Config{Host: server.URL(), BearerToken: token, TLSClientConfig: rest.TLSClientConfig{CAData: ca}}),
		"system:serviceaccount:default:robot", "system:serviceaccounts:default")
	// The server, and not only etcd, refuses an earlier version.
	_, err = clientFor(t, fromKubeconfig(t, kubeconfig)).CoreV1().ConfigMaps("default").List(t.Context(),
		metav1.ListOptions{ResourceVersion: strconv.FormatInt(before, 10), ResourceVersionMatch: metav1.ResourceVersionMatchExact})
	wantStatus(t, "a list at a version of before", err, 410)
}

func robotToken(t *testing.T, client kubernetes.Interface) string {
	t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "robot"}}
	if _, err := client.CoreV1().ServiceAccounts("default").Create(t.Context(), account, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	token, err := client.CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "robot", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return token.Status.Token
}

func version(t testing.TB, text string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// unpack returns the files of a snapshot.
func unpack(t testing.TB, snapshot []byte) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(snapshot)); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[header.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRestoreOfADatabase: a snapshot of etcdctl has no keys, and the directory's keys are
// used.
func TestRestoreOfADatabase(t *testing.T) {
	server := start(t, controlplane.Config{})
	putConfigMap(t, admin(t, server), "kept", "x")
	database := unpack(t, snapshotOf(t, server))["etcd.db"]
	closeServer(t, server)

	keys := t.TempDir()
	closeServer(t, start(t, controlplane.Config{DataDir: keys}))
	dir := t.TempDir()
	if err := os.Rename(filepath.Join(keys, "pki"), filepath.Join(dir, "pki")); err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(filepath.Join(dir, "pki", "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	if err := controlplane.Restore(t.Context(), dir, bytes.NewReader(database), controlplane.RestoreConfig{}); err != nil {
		t.Fatal(err)
	}
	server = start(t, controlplane.Config{DataDir: dir})
	if !bytes.Equal(server.CABundle(), ca) {
		t.Error("got another CA, want the one that the directory had")
	}
	if _, err := admin(t, server).CoreV1().ConfigMaps("default").Get(t.Context(), "kept", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
}

func TestRestoreRefuses(t *testing.T) {
	dir := t.TempDir()
	server := start(t, controlplane.Config{DataDir: dir})
	data := snapshotOf(t, server)
	refused := func(what string, is error, want ...string) {
		t.Helper()
		before := list(t, dir)
		err := controlplane.Restore(t.Context(), dir, bytes.NewReader(data), controlplane.RestoreConfig{})
		if !errors.Is(err, is) || lacks(err.Error(), append(want, dir)...) != "" {
			t.Errorf("%s: got %v, want %q in it", what, err, want)
		}
		if after := list(t, dir); !slices.Equal(before, after) {
			t.Errorf("%s: got files %v, want %v", what, after, before)
		}
	}
	refused("into a directory in use", etcd.ErrInUse, "this process", "stop it, or name another directory")
	createPod(t, admin(t, server), "unharmed")
	closeServer(t, server)
	refused("into a directory with data", etcd.ErrHasData, "name an empty one")
	other := startProcess(t, "hold", dir)
	other.readLine(t)
	refused("into a directory in use by another process", etcd.ErrInUse, fmt.Sprintf("process %d", other.Process.Pid), "stop it, or name another directory")
	flip := func(at int) []byte {
		flipped := bytes.Clone(data)
		flipped[at] ^= 4
		return flipped
	}
	for name, damaged := range map[string][]byte{
		"empty":              nil,
		"nothing of ours":    bytes.Repeat([]byte("x"), 2000),
		"cut in the first":   data[:700],
		"cut in etcd.db":     data[:len(data)/2],
		"cut before the end": data[:bytes.LastIndex(data, []byte("SHA256SUMS"))],
		"flipped version":    flip(bytes.Index(data, []byte("kubernetes"))),
		"flipped in etcd.db": flip(len(data) / 2),
		"flipped key":        flip(bytes.Index(data, []byte("PRIVATE KEY")) + 20),
		"flipped header":     flip(bytes.Index(data, []byte("pki.pem"))),
		"flipped sum":        flip(bytes.LastIndex(data, []byte("  pki.pem")) - 5),
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			err := controlplane.Restore(t.Context(), dir, bytes.NewReader(damaged), controlplane.RestoreConfig{})
			if !errors.Is(err, etcd.ErrCorrupt) || !strings.Contains(err.Error(), "the snapshot") {
				t.Errorf("error %v, want that the snapshot is damaged", err)
			}
			if strings.HasPrefix(name, "cut") && !strings.Contains(err.Error(), "truncated") {
				t.Errorf("got %v, want an error that says that it was truncated", err)
			}
			if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("left behind: got %v, want nothing", entries(t, dir))
			}
		})
	}
	t.Run("keys of another cluster", func(t *testing.T) {
		other := t.TempDir()
		closeServer(t, start(t, controlplane.Config{DataDir: other}))
		if err := os.RemoveAll(filepath.Join(other, "etcd")); err != nil {
			t.Fatal(err)
		}
		err := controlplane.Restore(t.Context(), other, bytes.NewReader(data), controlplane.RestoreConfig{})
		if err == nil || !strings.Contains(err.Error(), "another cluster") {
			t.Errorf("error %v, want that the directory has other keys", err)
		}
	})
	t.Run("a damaged record", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "cluster.json"), []byte("damaged"), 0o600); err != nil {
			t.Fatal(err)
		}
		err := controlplane.Restore(t.Context(), dir, bytes.NewReader(data), controlplane.RestoreConfig{})
		if err == nil || !strings.Contains(err.Error(), "restore: dir: ") {
			t.Errorf("error %v, want one about dir", err)
		}
	})
	t.Run("Name without PeerAddr", func(t *testing.T) {
		err := controlplane.Restore(t.Context(), t.TempDir(), bytes.NewReader(data), controlplane.RestoreConfig{Name: "a"})
		if err == nil || !strings.Contains(err.Error(), "PeerAddr") {
			t.Errorf("error %v, want one about PeerAddr", err)
		}
	})
}

func TestScheduledSnapshots(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "snapshots")
	server := start(t, controlplane.Config{Snapshots: controlplane.Snapshots{Dir: dir, Interval: 20 * time.Millisecond, Keep: 2}})
	putConfigMap(t, admin(t, server), "kept", "x")
	var first string
	testwait.True(t, "a snapshot", func() bool {
		list, _ := filepath.Glob(filepath.Join(dir, "kubembed-*.tar"))
		if len(list) > 0 {
			first = list[0]
		}
		return first != ""
	})
	testwait.True(t, "old ones are deleted", func() bool {
		_, err := os.Lstat(first)
		return errors.Is(err, os.ErrNotExist)
	})
	closeServer(t, server)
	list := entries(t, dir)
	if len(list) > 3 || len(list) == 0 { // a stop may come before the third is deleted
		t.Errorf("there are %v, want two", list)
	}
	for _, name := range list {
		if !strings.HasSuffix(name, ".tar") {
			t.Errorf("left behind: got %s, want archives only", name)
		}
	}
	newest, err := os.ReadFile(filepath.Join(dir, list[len(list)-1]))
	if err != nil {
		t.Fatal(err)
	}
	restored := filepath.Join(t.TempDir(), "data")
	if err := controlplane.Restore(t.Context(), restored, bytes.NewReader(newest), controlplane.RestoreConfig{}); err != nil {
		t.Fatal(err)
	}
	server = start(t, controlplane.Config{DataDir: restored})
	if _, err := admin(t, server).CoreV1().ConfigMaps("default").Get(t.Context(), "kept", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
}
