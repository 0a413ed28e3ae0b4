// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	utilversion "k8s.io/apimachinery/pkg/util/version"

	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// release is the Kubernetes version that is minors after ours.
func release(t testing.TB, minors int) string {
	t.Helper()
	ours, err := utilversion.ParseSemantic(apiserver.KubernetesVersion)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("v%d.%d.1", ours.Major(), int(ours.Minor())+minors)
}

// recordedRelease reads the release in the record of a DataDir, and replaces it by
// another unless that is empty. "none" removes it.
func recordedRelease(t testing.TB, dir, other string) string {
	t.Helper()
	path := filepath.Join(dir, "cluster.json")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	record := map[string]any{}
	if err := json.Unmarshal(data, &record); err != nil {
		t.Fatal(err)
	}
	was, _ := record["kubernetes"].(string)
	switch other {
	case "":
		return was
	case "none":
		delete(record, "kubernetes")
	default:
		record["kubernetes"] = other
	}
	if data, err = json.Marshal(record); err == nil {
		err = os.WriteFile(path, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return was
}

// sums returns the checksums of all files below dir except the lock.
func sums(t testing.TB, dir string) map[string][sha256.Size]byte {
	t.Helper()
	all := map[string][sha256.Size]byte{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || entry.Name() == "lock" {
			return err
		}
		data, err := os.ReadFile(path)
		all[path] = sha256.Sum256(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestReleaseOfDataDir: a DataDir that this release must not use is refused before etcd
// upgrades it, so that the right release can still open it.
func TestReleaseOfDataDir(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	server := start(t, controlplane.Config{DataDir: dir})
	putConfigMap(t, admin(t, server), "kept", "x")
	closeServer(t, server)
	if is := recordedRelease(t, dir, ""); is != apiserver.KubernetesVersion {
		t.Errorf("the record after the first start: got %q, want %q", is, apiserver.KubernetesVersion)
	}
	for _, refused := range []struct{ of, cure string }{
		{release(t, 1), minorOf(release(t, 1)) + " or newer, or restore a snapshot from before the upgrade"},
		{release(t, 3), minorOf(release(t, 3)) + " or newer"},
		{release(t, -2), "start a release with " + minorOf(release(t, -1)) + " on it before"},
		{release(t, -5), "start a release with " + minorOf(release(t, -4)) + " on it before"},
	} {
		recordedRelease(t, dir, refused.of)
		before := sums(t, dir)
		server, err := controlplane.Start(t.Context(), controlplane.Config{DataDir: dir})
		if err == nil {
			closeServer(t, server)
		}
		if !errors.Is(err, apiserver.ErrVersionSkew) || lacks(err.Error(), "Config.DataDir", dir, refused.of, apiserver.KubernetesVersion, refused.cure) != "" {
			t.Errorf("a DataDir of %s: got %v, want ErrVersionSkew with both releases and %q", refused.of, err, refused.cure)
		}
		for path, sum := range sums(t, dir) {
			if before[path] != sum {
				t.Errorf("after the refused start: got another %s, want it as it was", path)
			}
		}
	}
	for _, followed := range []string{release(t, -1), "none", "no record"} {
		if followed != "no record" {
			recordedRelease(t, dir, followed)
		} else if err := os.Remove(filepath.Join(dir, "cluster.json")); err != nil {
			t.Fatal(err)
		}
		server := start(t, controlplane.Config{DataDir: dir})
		wantConfigMap(t, server, "kept", "x")
		closeServer(t, server)
		if is := recordedRelease(t, dir, ""); is != apiserver.KubernetesVersion {
			t.Errorf("the record after %s: got %q, want %q", followed, is, apiserver.KubernetesVersion)
		}
	}
	// A patch release may go back, and the newer one stays in the record.
	newer := minorOf(apiserver.KubernetesVersion) + ".99"
	recordedRelease(t, dir, newer)
	closeServer(t, start(t, controlplane.Config{DataDir: dir}))
	if is := recordedRelease(t, dir, ""); is != newer {
		t.Errorf("the record: got %q, want %q", is, newer)
	}
	// An empty directory has no recorded release.
	recordedRelease(t, dir, release(t, 1))
	if err := os.RemoveAll(filepath.Join(dir, "etcd")); err != nil {
		t.Fatal(err)
	}
	closeServer(t, start(t, controlplane.Config{DataDir: dir, NewCluster: true}))
	closeServer(t, start(t, controlplane.Config{DataDir: dir}))
}

func minorOf(release string) string {
	v := utilversion.MustParseSemantic(release)
	return fmt.Sprintf("v%d.%d", v.Major(), v.Minor())
}

// TestReleaseOfSnapshot: the same holds for a snapshot.
func TestReleaseOfSnapshot(t *testing.T) {
	t.Parallel()
	server := start(t, controlplane.Config{})
	data := snapshotOf(t, server)
	closeServer(t, server)
	for _, of := range []string{release(t, 1), release(t, -2)} {
		dir := filepath.Join(t.TempDir(), "restored")
		err := controlplane.Restore(t.Context(), dir, bytes.NewReader(snapshotBy(t, data, of)), controlplane.RestoreConfig{})
		if !errors.Is(err, apiserver.ErrVersionSkew) || lacks(err.Error(), "snapshot", of) != "" {
			t.Errorf("a snapshot of %s: got %v, want ErrVersionSkew", of, err)
		}
		if _, err := os.Lstat(dir); err == nil {
			t.Errorf("a snapshot of %s: got a directory, want nothing left", of)
		}
	}
	dir := filepath.Join(t.TempDir(), "restored")
	of := release(t, -1)
	if err := controlplane.Restore(t.Context(), dir, bytes.NewReader(snapshotBy(t, data, of)), controlplane.RestoreConfig{}); err != nil {
		t.Fatal(err)
	}
	if is := recordedRelease(t, dir, ""); is != of {
		t.Errorf("the record of a restored DataDir: got %q, want %q", is, of)
	}
	closeServer(t, start(t, controlplane.Config{DataDir: dir}))
	if is := recordedRelease(t, dir, ""); is != apiserver.KubernetesVersion {
		t.Errorf("the record after a start: got %q, want %q", is, apiserver.KubernetesVersion)
	}
}

// snapshotBy is a snapshot as another release would have taken it.
func snapshotBy(t *testing.T, data []byte, release string) []byte {
	t.Helper()
	all := entriesOf(t, data)
	for i, e := range all {
		if e.header.Name == "snapshot.json" {
			all[i].data = bytes.ReplaceAll(e.data, []byte(apiserver.KubernetesVersion), []byte(release))
		}
	}
	return archived(t, summedUp(all))
}
