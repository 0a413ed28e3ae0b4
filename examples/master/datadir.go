// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kubembed/kubembed/internal/files"
)

// ownFiles are the names that control planes and this program use in --data-dir.
var ownFiles = []string{"cluster.json", "ports.json", "etcd", "pki", "run", "lock", "snapshots", adminFile, joinFile}

// volumeFiles are the names that file systems and operating systems create in the root
// of a volume.
var volumeFiles = []string{"lost+found", ".snapshot", ".snapshots", ".zfs", ".fseventsd", ".Spotlight-V100", ".Trashes", ".DS_Store", "System Volume Information", "$RECYCLE.BIN"}

// checkDataDir refuses a directory with foreign files: a typo could mix a cluster into
// a home directory. A directory with the record of a control plane, or with etcd and
// keys, is a data directory, even with other files in it.
func checkDataDir(dir string) error {
	if dir == "" {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil //nolint:nilerr // missing, or a problem that the library reports better
	}
	has := func(name string) bool {
		return slices.ContainsFunc(entries, func(entry os.DirEntry) bool { return entry.Name() == name })
	}
	if has("cluster.json") || has("etcd") && has("pki") {
		return nil
	}
	var foreign []string
	for _, entry := range entries {
		name := entry.Name()
		known := slices.Contains(ownFiles, name) || slices.Contains(volumeFiles, name) ||
			strings.HasPrefix(name, ".Trash-") || strings.HasPrefix(name, ".nfs") || strings.Contains(name, ".unfinished-")
		if !known {
			foreign = append(foreign, name)
		}
	}
	if len(foreign) == 0 {
		return nil
	}
	named := strings.Join(foreign[:min(3, len(foreign))], ", ")
	if more := len(foreign) - 3; more > 0 {
		named += fmt.Sprintf(" and %d more", more)
	}
	return usagef("--data-dir: %s: is not empty and not a data directory of a control plane: it has %s: name an empty or a new directory, like %s",
		dir, named, filepath.Join(dir, "kubembed"))
}

// checkKubeconfigDir checks before the start that the kubeconfig files can be written.
func (o options) checkKubeconfigDir() error {
	if err := os.MkdirAll(o.kubeconfigDir, 0o700); err != nil {
		return usagef("--kubeconfig-dir: %w", err)
	}
	for _, name := range []string{adminFile, joinFile} {
		path := filepath.Join(o.kubeconfigDir, name)
		info, err := os.Lstat(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return usagef("--kubeconfig-dir: %w", err)
		}
		if err == nil && info.IsDir() {
			return usagef("--kubeconfig-dir: %s is a directory, and must be a file or missing", path)
		}
	}
	probe := filepath.Join(o.kubeconfigDir, ".kubeconfig-probe")
	err := files.WriteAtomic(probe, nil, 0o600)
	if err == nil {
		err = os.Remove(probe)
	}
	if err != nil {
		return usagef("--kubeconfig-dir: the kubeconfig files cannot be written: %w", err)
	}
	return nil
}
