// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubembed/kubembed/internal/etcdtest"
	"github.com/kubembed/kubembed/pkg/controlplane"
	"github.com/kubembed/kubembed/pkg/etcd"
	"github.com/kubembed/kubembed/pkg/pki"
)

// away moves matching files out of dir, and returns a function that moves them back.
func away(t *testing.T, dir string, patterns ...string) (back func()) {
	t.Helper()
	aside := t.TempDir()
	moved := map[string]string{}
	for _, pattern := range patterns {
		paths, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil || len(paths) == 0 {
			t.Fatalf("files that match %s: got none, %v, want some", pattern, err)
		}
		for _, path := range paths {
			moved[path] = filepath.Join(aside, strings.ReplaceAll(strings.TrimPrefix(path, dir), string(filepath.Separator), "_"))
			if err := os.Rename(path, moved[path]); err != nil {
				t.Fatal(err)
			}
		}
	}
	return func() {
		t.Helper()
		for path, at := range moved {
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(at, path); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestMissingPartsAreNotMadeAgain: a start on an incomplete DataDir names the missing
// part and does not replace it.
func TestMissingPartsAreNotMadeAgain(t *testing.T) {
	dir := t.TempDir()
	server := start(t, controlplane.Config{DataDir: dir})
	putConfigMap(t, admin(t, server), "kept", "x")
	ca := server.CABundle()
	closeServer(t, server)

	refused := func(t *testing.T, want error, names ...string) {
		t.Helper()
		_, err := controlplane.Start(t.Context(), controlplane.Config{DataDir: dir})
		if !errors.Is(err, want) || lacks(err.Error(), names...) != "" {
			t.Errorf("the start says %v, want %v with %q", err, want, names)
		}
	}
	empty := func(t *testing.T, path string) {
		t.Helper()
		if err := os.Mkdir(filepath.Join(dir, path), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		lost []string
		want error
		text string
	}{
		{[]string{"etcd"}, etcd.ErrDataMissing, "etcd is missing"},
		{[]string{"etcd/member"}, etcd.ErrDataMissing, "etcd is missing"},
		{[]string{"etcd/member/*"}, etcd.ErrDataMissing, "etcd is missing"},
		{[]string{"etcd/member/wal"}, etcd.ErrCorrupt, "wal"},
		{[]string{"etcd/member/snap"}, etcd.ErrCorrupt, "db"},
		{[]string{"pki"}, pki.ErrKeysMissing, "ca.crt"},
		{[]string{"pki/ca.*"}, pki.ErrKeysMissing, "ca.crt"},
		{[]string{"pki/ca.crt"}, pki.ErrKeysMissing, "ca.crt"},
		{[]string{"pki/front-proxy-ca.*"}, pki.ErrKeysMissing, "front-proxy-ca.crt"},
		{[]string{"pki/etcd"}, pki.ErrKeysMissing, "etcd/ca.crt"},
		{[]string{"pki/sa.*"}, pki.ErrKeysMissing, "sa.key"},
		{[]string{"etcd", "pki"}, etcd.ErrDataMissing, "etcd is missing"},
		// A DataDir of a version without records.
		{[]string{"cluster.json", "pki"}, pki.ErrKeysMissing, "ca.crt"},
		{[]string{"cluster.json", "pki/sa.*"}, pki.ErrKeysMissing, "sa.key"},
	} {
		t.Run(strings.ReplaceAll(strings.Join(c.lost, "+"), "/", "_"), func(t *testing.T) {
			back := away(t, dir, c.lost...)
			defer back()
			texts := []string{filepath.FromSlash(c.text), "Config.DataDir"}
			if !errors.Is(c.want, etcd.ErrCorrupt) {
				texts = append(texts, "not mounted", "Restore", "Config.NewCluster")
			}
			refused(t, c.want, texts...)
			// A mount point without its disk is a directory.
			if path := c.lost[len(c.lost)-1]; !strings.Contains(path, "*") && filepath.Ext(path) == "" {
				if _, err := os.Lstat(filepath.Join(dir, path)); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("after the failed start: got %s, want it not created", path)
				}
				empty(t, path)
				refused(t, c.want, texts...)
			}
		})
	}
	t.Run("a damaged record", func(t *testing.T) {
		defer away(t, dir, "cluster.json")()
		if err := os.WriteFile(filepath.Join(dir, "cluster.json"), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		refused(t, etcd.ErrCorrupt, "cluster.json", "delete it")
	})
	t.Run("an external etcd in place of its own", func(t *testing.T) {
		defer away(t, dir, "etcd")()
		data, err := os.ReadFile(filepath.Join(dir, "cluster.json"))
		if err != nil {
			t.Fatal(err)
		}
		defer away(t, dir, "cluster.json")()
		if err := os.WriteFile(filepath.Join(dir, "cluster.json"), bytes.Replace(data, []byte("standalone"), []byte("external"), 1), 0o600); err != nil {
			t.Fatal(err)
		}
		refused(t, etcd.ErrDataMissing, "Config.Etcd.Endpoints")
	})

	// Only the record is written again.
	if err := os.Remove(filepath.Join(dir, "cluster.json")); err != nil {
		t.Fatal(err)
	}
	server = start(t, controlplane.Config{DataDir: dir})
	wantConfigMap(t, server, "kept", "x")
	if !bytes.Equal(server.CABundle(), ca) {
		t.Error("got another CA, want the one of before")
	}
	closeServer(t, server)
	if _, err := os.Lstat(filepath.Join(dir, "cluster.json")); err != nil {
		t.Error(err)
	}
	// etcd has the identity of the cluster without it too.
	back := away(t, dir, "pki", "cluster.json")
	if _, err := pki.Open(pki.Config{Dir: filepath.Join(dir, "pki")}); err != nil {
		t.Fatal(err)
	}
	refused(t, etcd.ErrOtherCluster, "CA ca", "Config.NewCluster")
	back()

	t.Run("NewCluster", func(t *testing.T) {
		defer away(t, dir, "pki")()
		server := start(t, controlplane.Config{DataDir: dir, NewCluster: true})
		wantConfigMap(t, server, "kept", "x")
		if bytes.Equal(server.CABundle(), ca) {
			t.Error("got the old CA, want another")
		}
		ca = server.CABundle()
		closeServer(t, server)
		// The result is that of a first start.
		server = start(t, controlplane.Config{DataDir: dir})
		if !bytes.Equal(server.CABundle(), ca) {
			t.Error("got another CA again, want the same")
		}
		closeServer(t, server)
		if err := os.RemoveAll(filepath.Join(dir, "etcd")); err != nil {
			t.Fatal(err)
		}
		server = start(t, controlplane.Config{DataDir: dir, NewCluster: true})
		if _, err := admin(t, server).CoreV1().ConfigMaps("default").Get(t.Context(), "kept", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("the old object in the new etcd: got error %v, want not found", err)
		}
		if !bytes.Equal(server.CABundle(), ca) {
			t.Error("got another CA, although it was not missing, want the same")
		}
		closeServer(t, server)
	})
}

// TestAnotherClustersKeysAreRefused: an empty mount point as DataDir, with an etcd that
// has the objects of the right DataDir.
func TestAnotherClustersKeysAreRefused(t *testing.T) {
	t.Parallel()
	e := etcdtest.Start(t)
	external := controlplane.Etcd{Endpoints: []string{e.Endpoint()}}
	first := start(t, controlplane.Config{DataDir: filepath.Join(t.TempDir(), "first"), Etcd: external})
	putConfigMap(t, admin(t, first), "kept", "x")
	bundle, err := first.PKI()
	if err != nil {
		t.Fatal(err)
	}
	closeServer(t, first)

	dir := t.TempDir()
	for name, cfg := range map[string]controlplane.Config{
		"an empty DataDir": {DataDir: dir, Etcd: external},
		"keys in memory":   {Etcd: external},
	} {
		if _, err := controlplane.Start(t.Context(), cfg); !errors.Is(err, etcd.ErrOtherCluster) || lacks(err.Error(), "Config.PKI", "Config.NewCluster") != "" {
			t.Errorf("%s: got %v, want ErrOtherCluster with Config.PKI and Config.NewCluster", name, err)
		}
	}
	if _, err := os.Lstat(filepath.Join(dir, "pki")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after the failed start: got %v, want no wrong keys in the way of the right ones", entries(t, dir))
	}
	other := start(t, controlplane.Config{Etcd: controlplane.Etcd{Endpoints: external.Endpoints, Prefix: "/other"}})
	closeServer(t, other)
	second := start(t, controlplane.Config{DataDir: dir, Etcd: external, PKI: bundle})
	wantConfigMap(t, second, "kept", "x")
}

// TestChangedKeysAreReported: without sa.key, a start creates a new one and continues, as
// in a rotation. It logs a warning, because the key may have been lost.
func TestChangedKeysAreReported(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	cfg := controlplane.Config{DataDir: t.TempDir(), Logger: zap.New(core)}
	warnings := func() []observer.LoggedEntry {
		closeServer(t, start(t, cfg)) // which writes all lines
		return logs.FilterMessageSnippet("other keys than at the last start").TakeAll()
	}
	for range 2 {
		if got := warnings(); len(got) > 0 {
			t.Errorf("the log with the same keys: got %v, want no warning", got)
		}
	}
	if err := os.Remove(filepath.Join(cfg.DataDir, "pki", "sa.key")); err != nil {
		t.Fatal(err)
	}
	got := warnings()
	if len(got) != 1 || !slices.Equal(got[0].ContextMap()["keys"].([]any), []any{"sa"}) {
		t.Errorf("the log with another service-account key: got %v, want one warning about sa", got)
	}
}
