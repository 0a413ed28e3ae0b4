// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kubembed/kubembed/internal/olddata"
	"github.com/kubembed/kubembed/internal/versionskew"
	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/controlplane"
	"github.com/kubembed/kubembed/pkg/etcd"
)

// oldConfig returns the Config for the data that was unpacked into dir.
func oldConfig(dir string, record *olddata.Record) controlplane.Config {
	cfg := controlplane.Config{DataDir: filepath.Join(dir, olddata.DataDir), SnapshotKey: record.SnapshotKey}
	if record.Secretbox != nil {
		cfg.Encryption.Keys = []apiserver.EncryptionKey{{Secretbox: record.Secretbox}}
	}
	return cfg
}

// oldDataDirs calls f for each DataDir of an earlier release.
func oldDataDirs(t *testing.T, names []string, f func(t *testing.T, dir string, record *olddata.Record)) {
	t.Helper()
	releases, err := olddata.Releases()
	if err != nil {
		t.Fatal(err)
	}
	for _, release := range releases {
		if _, err := versionskew.Follows(release, apiserver.KubernetesVersion, false); err != nil {
			continue // TestOldDataIsKept
		}
		for _, name := range names {
			t.Run(release+"/"+name, func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				record, err := olddata.Unpack(dir, release, name)
				if err != nil {
					t.Fatal(err)
				}
				f(t, dir, record)
			})
		}
	}
}

// TestOldDataIsKept fails after a move to the next minor version of Kubernetes until
// there are DataDirs of the previous release. Older ones are refused.
func TestOldDataIsKept(t *testing.T) {
	t.Parallel()
	releases, err := olddata.Releases()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(releases, func(r string) bool { return minorOf(r) == minorOf(release(t, -1)) }) {
		t.Errorf("internal/olddata has DataDirs of %v, none of %s: write them with the last commit before the move, as the documentation of that package says",
			releases, minorOf(release(t, -1)))
	}
	for _, r := range releases {
		if _, err := versionskew.Follows(r, apiserver.KubernetesVersion, false); err == nil {
			continue
		}
		dir := t.TempDir()
		record, err := olddata.Unpack(dir, r, olddata.Stopped)
		if err != nil {
			t.Fatal(err)
		}
		server, err := controlplane.Start(t.Context(), oldConfig(dir, record))
		if err == nil {
			closeServer(t, server)
		}
		if !errors.Is(err, apiserver.ErrVersionSkew) {
			t.Errorf("a DataDir of %s: got %v, want ErrVersionSkew", r, err)
		}
	}
}

// TestOldDataDir starts on the DataDir of an earlier release: every object exists, and
// the release's certificates, tokens and settings are valid.
func TestOldDataDir(t *testing.T) {
	t.Parallel()
	oldDataDirs(t, []string{olddata.Stopped, olddata.Encrypted}, func(t *testing.T, dir string, record *olddata.Record) {
		cfg := oldConfig(dir, record)
		for range 2 {
			server := start(t, cfg)
			wantOldObjects(t, server, record, false)
			closeServer(t, server)
		}
		server := start(t, cfg)
		wantOldIdentities(t, server, record)
		wantOldRules(t, server)
		if record.Secretbox != nil {
			if _, err := server.Reencrypt(t.Context()); err != nil {
				t.Error(err)
			}
		}
		wantWorks(t, server)
		closeServer(t, server)
		if is := recordedRelease(t, cfg.DataDir, ""); is != apiserver.KubernetesVersion {
			t.Errorf("the record of DataDir: got %q, want %q", is, apiserver.KubernetesVersion)
		}
	})
}

// TestOldSnapshot restores a snapshot of an earlier release.
func TestOldSnapshot(t *testing.T) {
	t.Parallel()
	oldDataDirs(t, []string{olddata.Stopped}, func(t *testing.T, dir string, record *olddata.Record) {
		file, err := os.Open(filepath.Join(dir, olddata.Snapshot))
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		restored := filepath.Join(dir, "restored")
		if err := controlplane.Restore(t.Context(), restored, file, controlplane.RestoreConfig{Key: record.SnapshotKey, KeepJoinKubeconfigs: true}); err != nil {
			t.Fatal(err)
		}
		if is := recordedRelease(t, restored, ""); is != record.Kubernetes {
			t.Errorf("the record of the restored DataDir: got %q, want %q", is, record.Kubernetes)
		}
		cfg := oldConfig(dir, record)
		cfg.DataDir = restored
		server := start(t, cfg)
		wantOldObjects(t, server, record, true)
		now, err := admin(t, server).CoreV1().ConfigMaps("olddata").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if at, err := strconv.ParseInt(now.ResourceVersion, 10, 64); err != nil || at < record.Revision+int64(etcd.DefaultRevisionBump)/2 {
			t.Errorf("resource version: got %s, want at least %d", now.ResourceVersion, record.Revision+int64(etcd.DefaultRevisionBump)/2)
		}
		wantOldIdentities(t, server, record)
		wantWorks(t, server)
	})
}

// oldPlaneMain runs a control plane on the unpacked data in a directory until stdin ends.
func oldPlaneMain(args []string) error {
	record, err := olddata.ReadRecord(args[0])
	if err != nil {
		return err
	}
	server, err := controlplane.Start(context.Background(), oldConfig(args[0], record))
	if err != nil {
		return err
	}
	fmt.Println("started")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return server.Close()
}

// TestOldDataDirKilled kills the first starts on the DataDir of an earlier release, each
// a little later than the one before. Nothing is lost.
func TestOldDataDirKilled(t *testing.T) {
	t.Parallel()
	oldDataDirs(t, []string{olddata.Stopped, olddata.Encrypted}, func(t *testing.T, dir string, record *olddata.Record) {
		scratch := t.TempDir()
		if _, err := olddata.Unpack(scratch, record.Kubernetes, olddata.Encrypted); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		process := startProcess(t, "old", scratch)
		process.readLine(t)
		length := time.Since(begin)
		const rounds = 8
		started := 0
		for round := range rounds {
			process := startProcess(t, "old", dir)
			after := time.AfterFunc(length*time.Duration(round+1)/(rounds-1), func() { _ = process.Process.Kill() })
			if line, err := process.stdout.ReadString('\n'); err == nil && strings.TrimSpace(line) == "started" {
				started++
				if !after.Stop() {
					_ = process.Process.Kill()
				}
				_ = process.Process.Kill()
			}
			if err := process.Wait(); err == nil || process.ProcessState.ExitCode() > 0 {
				t.Fatalf("the process: got %v, want it killed\n%s", err, &process.stderr)
			}
		}
		t.Logf("a start takes %v; of %d that were killed %d had ended", length, rounds, started)
		server := start(t, oldConfig(dir, record))
		wantOldObjects(t, server, record, false)
		wantOldIdentities(t, server, record)
	})
}

// wantOldObjects compares the served objects with the earlier release's. After a
// restore, resource versions differ, and short-lived objects are removed.
func wantOldObjects(t *testing.T, server *controlplane.Server, record *olddata.Record, restored bool) {
	t.Helper()
	client, err := dynamic.NewForConfig(server.ClientConfig())
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]bool{}
	for _, was := range record.Objects {
		o := &unstructured.Unstructured{Object: was.Object}
		if was.Resource == "componentstatuses" || was.Resource == "leases" && o.GetNamespace() == "kube-system" {
			continue // not stored, or of a server on another machine
		}
		kinds[was.Resource] = true
		at := fmt.Sprintf("%s %s/%s", was.Resource, o.GetNamespace(), o.GetName())
		var resource dynamic.ResourceInterface = client.Resource(schema.GroupVersionResource{Group: was.Group, Version: was.Version, Resource: was.Resource})
		if o.GetNamespace() != "" {
			resource = resource.(dynamic.NamespaceableResourceInterface).Namespace(o.GetNamespace())
		}
		is, err := resource.Get(t.Context(), o.GetName(), metav1.GetOptions{})
		if was.Resource == "certificatesigningrequests" && apierrors.IsNotFound(err) {
			continue // removed an hour after it was signed, and a day after it was made
		}
		if err != nil {
			t.Errorf("%s: %v", at, err)
			continue
		}
		if addressed(was) {
			if is.GetUID() != o.GetUID() {
				t.Errorf("%s: got another object, want the one of before", at)
			}
			continue
		}
		expected, shown := o.DeepCopy(), is.DeepCopy()
		for _, o := range []*unstructured.Unstructured{expected, shown} {
			if restored || maintained(was) {
				o.SetResourceVersion("")
			}
			if maintained(was) {
				o.SetManagedFields(nil)
			}
		}
		if missing := lost(expected.Object, shown.Object, maintained(was)); missing != "" {
			t.Errorf("%s: got it without %s, want all of it", at, missing)
		}
	}
	if len(kinds) < 10 {
		t.Errorf("kinds: got %d, want at least 10", len(kinds))
	}
}

// maintained reports whether a control plane keeps an object up to date itself, so that a
// start may write it.
func maintained(o olddata.Object) bool {
	switch o.Group {
	case "apiregistration.k8s.io", "rbac.authorization.k8s.io", "flowcontrol.apiserver.k8s.io":
		return true
	}
	return false
}

// addressed reports whether an object has the address of the machine.
func addressed(o olddata.Object) bool {
	object := &unstructured.Unstructured{Object: o.Object}
	return object.GetName() == "kubernetes" && (o.Resource == "endpoints" || o.Resource == "endpointslices")
}

// lost returns a path that was has and is lacks, or "". New fields are allowed, and so
// are new items of lists that may grow.
func lost(was, is any, grown bool) string {
	switch was := was.(type) {
	case map[string]any:
		is, ok := is.(map[string]any)
		if !ok {
			return " is no object"
		}
		for key, value := range was {
			if _, ok := is[key]; !ok {
				return "." + key + " is missing"
			}
			if at := lost(value, is[key], grown); at != "" {
				return "." + key + at
			}
		}
		return ""
	case []any:
		is, ok := is.([]any)
		if !ok || len(was) != len(is) && !grown {
			return " has other items"
		}
		for i, item := range was {
			at := "[" + strconv.Itoa(i) + "]"
			if grown && !slices.ContainsFunc(is, func(other any) bool { return lost(item, other, true) == "" }) {
				return at + " is missing"
			}
			if grown {
				continue
			}
			if inside := lost(item, is[i], false); inside != "" {
				return at + inside
			}
		}
		return ""
	}
	if !reflect.DeepEqual(was, is) {
		return fmt.Sprintf(" was %v, is %v", was, is)
	}
	return ""
}

// at is config for another server with the same CA: the port of a DataDir may be taken.
func at(t *testing.T, config *rest.Config, server *controlplane.Server) *kubernetes.Clientset {
	t.Helper()
	config.Host = server.URL()
	return clientFor(t, config)
}

// wantOldIdentities uses the certificates and tokens of the earlier release.
func wantOldIdentities(t *testing.T, server *controlplane.Server, record *olddata.Record) {
	t.Helper()
	old := fromKubeconfig(t, record.Admin)
	token := &rest.Config{BearerToken: record.Token, TLSClientConfig: rest.TLSClientConfig{CAData: old.CAData}}
	for want, client := range map[string]*kubernetes.Clientset{
		"admin":                               at(t, old, server),
		"system:serviceaccount:olddata:robot": at(t, token, server),
		"system:bootstrap:":                   at(t, fromKubeconfig(t, record.Join), server),
	} {
		review, err := client.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
		if err != nil || !strings.HasPrefix(review.Status.UserInfo.Username, want) {
			if want == "system:bootstrap:" && apierrors.IsForbidden(err) && lacks(err.Error(), want) == "" {
				continue // it may ask for certificates and nothing else
			}
			t.Errorf("user of the credential: got %v, %v, want %s", review, err, want)
		}
	}
	robot := at(t, token, server)
	if _, err := robot.CoreV1().ConfigMaps("olddata").Get(t.Context(), "settings", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := robot.CoreV1().Secrets("olddata").Get(t.Context(), "password", metav1.GetOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a read that an old role does not allow: got %v, want forbidden", err)
	}
}

// wantOldRules uses the policies of the earlier release.
func wantOldRules(t *testing.T, server *controlplane.Server) {
	t.Helper()
	client := admin(t, server)
	_, err := client.CoreV1().ConfigMaps("olddata").Create(t.Context(), configMap("refused", ""), metav1.CreateOptions{})
	if err == nil || lacks(err.Error(), "an old policy refuses this name") != "" {
		t.Errorf("an old policy: got %v, want its refusal", err)
	}
	services := client.CoreV1().Services("olddata")
	taken := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "taken"}, Spec: corev1.ServiceSpec{
		Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{{Port: 80, NodePort: 30077}},
	}}
	if _, err := services.Create(t.Context(), taken, metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("a node port that a Service has: got %v, want invalid", err)
	}
	taken.Spec.Ports[0].NodePort, taken.Spec.ClusterIP = 0, "10.0.0.77"
	if _, err := services.Create(t.Context(), taken, metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("an address that a Service has: got %v, want invalid", err)
	}
	quota, err := client.CoreV1().ResourceQuotas("olddata").Get(t.Context(), "quota", metav1.GetOptions{})
	if err != nil || quota.Status.Used.Pods().Value() != 2 {
		t.Errorf("pods of the quota: got %v, %v, want 2", quota.Status.Used, err)
	}
}

// wantWorks writes to old objects.
func wantWorks(t *testing.T, server *controlplane.Server) {
	t.Helper()
	client, err := dynamic.NewForConfig(server.ClientConfig())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"stored-as-v1beta1", "stored-as-v1"} {
		for _, version := range []string{"v1beta1", "v1"} {
			widgets := client.Resource(schema.GroupVersionResource{Group: "olddata.kubembed.dev", Version: version, Resource: "widgets"}).Namespace("olddata")
			patch := fmt.Appendf(nil, `{"spec":{"by":%q}}`, version)
			if _, err := widgets.Patch(t.Context(), name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
				t.Error(err)
			}
		}
	}
	// An object that was being deleted is gone when its finalizer is removed.
	configMaps := admin(t, server).CoreV1().ConfigMaps("olddata")
	if _, err := configMaps.Patch(t.Context(), "held", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
		t.Error(err)
	}
	_, err = configMaps.Get(t.Context(), "held", metav1.GetOptions{})
	if gone := isGone(err); gone != nil {
		t.Error(gone)
	}
	if _, err := configMaps.Create(t.Context(), configMap("new", ""), metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Error(err)
	}
}
