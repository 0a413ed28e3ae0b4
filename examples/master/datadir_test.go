// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

// TestForeignDataDir: a directory with foreign files is refused, and stays unchanged.
func TestForeignDataDir(t *testing.T) {
	for _, test := range []struct {
		name    string
		entries []string
		foreign bool
	}{
		{"empty", nil, false},
		{"a new disk", []string{"lost+found/"}, false},
		{"a disk of a Mac", []string{".fseventsd/", ".DS_Store"}, false},
		{"a first start that was cut short", []string{"lock", "run/", "pki/", "etcd/"}, false},
		{"kubeconfigs beside it", []string{adminFile, joinFile}, false},
		{"a start that was cut short earlier", []string{"lock", "run/", "ports.json"}, false},
		{"its record is lost, with files of others", []string{"etcd/", "pki/", "ports.json", "notes.txt"}, false},
		{"recorded, with files of others", []string{"cluster.json", "notes.txt"}, false},
		{"a home", []string{".bashrc", "go/", "src/", "x"}, true},
		{"one file", []string{"notes.txt"}, true},
		{"etc", []string{"passwd", "pki/"}, true},
		{"a hidden file", []string{".git/"}, true},
	} {
		dir := t.TempDir()
		for _, entry := range test.entries {
			path := filepath.Join(dir, entry)
			err := os.MkdirAll(filepath.Dir(path), 0o700)
			if err == nil && strings.HasSuffix(entry, "/") {
				err = os.Mkdir(path, 0o700)
			} else if err == nil {
				err = os.WriteFile(path, nil, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		err := checkDataDir(dir)
		if (err != nil) != test.foreign {
			t.Errorf("%s: %v", test.name, err)
		}
		if !test.foreign {
			continue
		}
		err = fails(t, "--bind-address=127.0.0.1:0", "--data-dir="+dir)
		for _, want := range []string{"--data-dir: " + dir, test.entries[0][:4], "name an empty or a new directory"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q is not in: %v", test.name, want, err)
			}
		}
		if after, err := os.ReadDir(dir); err != nil || len(after) != len(test.entries) {
			t.Errorf("%s: changed: %v %v", test.name, after, err)
		}
	}
	if err := checkDataDir(filepath.Join(t.TempDir(), "missing")); err != nil {
		t.Error(err)
	}
}

// TestDataDirWithoutRecord: a data directory without cluster.json, which the next start
// writes again, is not foreign, even with other files in it.
func TestDataDirWithoutRecord(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	cp, err := controlplane.Start(t.Context(), controlplane.Config{DataDir: dir, Snapshots: controlplane.Snapshots{Interval: time.Hour}})
	if err != nil {
		t.Fatal(err)
	}
	if err := cp.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "cluster.json")); err != nil {
		t.Fatal(err)
	}
	if err := checkDataDir(dir); err != nil {
		t.Error(err)
	}
}

// A directory that cannot have the kubeconfig files is refused before the start: the data
// directory stays unchanged.
func TestKubeconfigDirBeforeTheStart(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, joinFile), 0o700); err != nil {
		t.Fatal(err)
	}
	err := fails(t, "--bind-address=127.0.0.1:0", "--data-dir="+data, "--kubeconfig-dir="+dir)
	if !strings.Contains(err.Error(), "--kubeconfig-dir: "+filepath.Join(dir, joinFile)) {
		t.Error(err)
	}
	if _, err := os.Lstat(data); err == nil {
		t.Error("the control plane was started before that")
	}
}
