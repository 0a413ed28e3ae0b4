// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/component-helpers/auth/rbac/validation"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

func TestRestartKeepsObjects(t *testing.T) {
	dir := t.TempDir()
	server := start(t, controlplane.Config{DataDir: dir})
	client, ctx := admin(t, server), t.Context()
	pod := createPod(t, client, "kept")
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "kept"}, Data: map[string][]byte{"key": []byte("value")}}
	secret, err := client.CoreV1().Secrets("default").Create(ctx, secret, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	createWidgets(t, server)
	widget, err := widgets(t, server).Create(ctx, newWidget("kept"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	closeServer(t, server)

	server = start(t, controlplane.Config{DataDir: dir})
	client = admin(t, server)
	same := func(what string, before, after metav1.Object, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
			return
		}
		if after.GetUID() != before.GetUID() || after.GetResourceVersion() != before.GetResourceVersion() {
			t.Errorf("%s: got %s at %s, want %s at %s", what, after.GetUID(), after.GetResourceVersion(), before.GetUID(), before.GetResourceVersion())
		}
	}
	podAfter, err := client.CoreV1().Pods("default").Get(ctx, "kept", metav1.GetOptions{})
	same("pod", pod, podAfter, err)
	secretAfter, err := client.CoreV1().Secrets("default").Get(ctx, "kept", metav1.GetOptions{})
	same("secret", secret, secretAfter, err)
	if string(secretAfter.Data["key"]) != "value" {
		t.Errorf("the secret: got %q, want key=value", secretAfter.Data)
	}
	// Served right after Start, like everything else.
	widgetAfter, err := widgets(t, server).Get(ctx, "kept", metav1.GetOptions{})
	same("custom resource", widget, widgetAfter, err)
	if size, _, _ := unstructured.NestedString(widgetAfter.Object, "spec", "size"); size != "large" {
		t.Errorf("the custom resource: got %v, want size large", widgetAfter)
	}
}

// TestRestartKeepsIdentities: workers and pods continue with their certificates and
// tokens.
func TestRestartKeepsIdentities(t *testing.T) {
	dir := t.TempDir()
	server := start(t, controlplane.Config{DataDir: dir})
	kubeconfig, err := server.Kubeconfig("jane", "system:masters")
	if err != nil {
		t.Fatal(err)
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "robot"}}
	client := admin(t, server)
	if _, err := client.CoreV1().ServiceAccounts("default").Create(t.Context(), account, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	token, err := client.CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "robot", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ca, address := server.CABundle(), hostPort(t, server.URL())
	robot := func(server *controlplane.Server) kubernetes.Interface {
		return clientFor(t, &rest.Config{Host: server.URL(), BearerToken: token.Status.Token,
			TLSClientConfig: rest.TLSClientConfig{CAData: ca}})
	}
	wantUser(t, robot(server), "system:serviceaccount:default:robot", "system:serviceaccounts:default")
	closeServer(t, server)

	server = start(t, controlplane.Config{DataDir: dir, BindAddress: address})
	if !bytes.Equal(server.CABundle(), ca) {
		t.Error("got another CA, want the one of before")
	}
	wantUser(t, clientFor(t, fromKubeconfig(t, kubeconfig)), "jane", "system:masters")
	wantUser(t, robot(server), "system:serviceaccount:default:robot", "system:serviceaccounts:default")
}

func TestDataDirIsPrivate(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("files have no such modes")
	}
	dir := filepath.Join(t.TempDir(), "made", "for", "it")
	start(t, controlplane.Config{DataDir: dir})
	var keys int
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("mode of %s: got %v, want nothing for others", path, info.Mode())
		}
		if strings.HasSuffix(path, ".key") {
			keys++
		}
		return nil
	})
	if err != nil || keys < 3 {
		t.Errorf("keys: got %d, %v, want at least 3", keys, err)
	}
	for path, want := range map[string]fs.FileMode{
		dir: 0o700, filepath.Join(dir, "pki"): 0o700, filepath.Join(dir, "etcd"): 0o700, filepath.Join(dir, "pki", "ca.key"): 0o600,
	} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, want %v (%v)", path, info.Mode(), want, err)
		}
	}
}

// TestRestartRepairsRBAC: as in upstream, a restart adds missing roles and permissions of
// the bootstrap policy. Additions stay, and an annotation switches this off.
func TestRestartRepairsRBAC(t *testing.T) {
	dir := t.TempDir()
	server := start(t, controlplane.Config{DataDir: dir})
	roles, ctx := admin(t, server).RbacV1().ClusterRoles(), t.Context()
	if err := roles.Delete(ctx, "view", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	own := rbacv1.PolicyRule{APIGroups: []string{"example.com"}, Resources: []string{"widgets"}, Verbs: []string{"get"}}
	change := func(name string, f func(*rbacv1.ClusterRole)) (before []rbacv1.PolicyRule) {
		t.Helper()
		role, err := roles.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		before = role.Rules
		f(role)
		if _, err := roles.Update(ctx, role, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		return before
	}
	granted := change("system:node", func(role *rbacv1.ClusterRole) { role.Rules = []rbacv1.PolicyRule{own} })
	change("system:kube-scheduler", func(role *rbacv1.ClusterRole) {
		role.Annotations[rbacv1.AutoUpdateAnnotationKey] = "false"
		role.Rules = []rbacv1.PolicyRule{own}
	})
	if err := admin(t, server).RbacV1().ClusterRoleBindings().Delete(ctx, "system:basic-user", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	closeServer(t, server)

	server = start(t, controlplane.Config{DataDir: dir})
	roles = admin(t, server).RbacV1().ClusterRoles()
	for _, name := range []string{"view", "system:aggregate-to-view"} {
		if _, err := roles.Get(ctx, name, metav1.GetOptions{}); err != nil {
			t.Error(err)
		}
	}
	if _, err := admin(t, server).RbacV1().ClusterRoleBindings().Get(ctx, "system:basic-user", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
	node, err := roles.Get(ctx, "system:node", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if ok, missing := validation.Covers(node.Rules, append(granted, own)); !ok {
		t.Errorf("rules that system:node lacks: got %v, want none", missing)
	}
	scheduler, err := roles.Get(ctx, "system:kube-scheduler", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(scheduler.Rules) != 1 || scheduler.Rules[0].String() != own.String() {
		t.Errorf("system:kube-scheduler, with autoupdate off: got %v, want [%s]", scheduler.Rules, own.String())
	}
}

func TestKilledProcessLosesNothing(t *testing.T) {
	dir := t.TempDir()
	process := startProcess(t, "hold", dir)
	uid := process.readLine(t)
	if err := process.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = process.Wait()
	server := start(t, controlplane.Config{DataDir: dir})
	pod, err := admin(t, server).CoreV1().Pods("default").Get(t.Context(), "acknowledged", metav1.GetOptions{})
	if err != nil || string(pod.UID) != uid {
		t.Errorf("after the kill: %v with UID %s, want %s", err, pod.UID, uid)
	}
}

// TestCloseKeepsOnlyWhatLasts: Close removes the parts of a data directory that only a
// running control plane needs.
func TestCloseKeepsOnlyWhatLasts(t *testing.T) {
	dir := t.TempDir()
	closeServer(t, start(t, controlplane.Config{DataDir: dir}))
	if got := entries(t, dir); !slices.Equal(got, []string{"cluster.json", "etcd", "lock", "pki", "ports.json"}) {
		t.Errorf("the directory: got %v, want cluster.json, etcd, lock, pki and ports.json", got)
	}
}
