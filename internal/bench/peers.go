// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// peers are the programs that envtest starts, and the rest of upstream's cluster, with
// their packages.
var peers = []struct{ program, module, pkg string }{
	{"kube-apiserver", "k8s.io/kubernetes", "k8s.io/kubernetes/cmd/kube-apiserver"},
	{"etcd", "go.etcd.io/etcd/server/v3", "go.etcd.io/etcd/server/v3"},
	{"kube-controller-manager", "k8s.io/kubernetes", "k8s.io/kubernetes/cmd/kube-controller-manager"},
	{"kube-scheduler", "k8s.io/kubernetes", "k8s.io/kubernetes/cmd/kube-scheduler"},
	{"kubemark", "k8s.io/kubernetes", "k8s.io/kubernetes/cmd/kubemark"},
}

// buildPeers builds the programs that are missing in the cache, in the module peers.
func (b *bench) buildPeers() error {
	if b.cache == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return err
		}
		b.cache = filepath.Join(cache, "kubembed-bench")
	}
	parts := []string{"peers"}
	for _, peer := range peers[:2] { // One of each module.
		version, err := b.version(peer.module)
		if err != nil {
			return err
		}
		parts = append(parts, version)
	}
	b.paths.Assets = filepath.Join(b.cache, strings.Join(parts, "-"))
	for _, peer := range peers {
		path := filepath.Join(b.paths.Assets, peer.program)
		if _, err := os.Stat(path); err == nil {
			continue
		}
		fmt.Fprintln(os.Stderr, "building", path)
		// A file with the final name is complete. An interrupted build leaves only this
		// one.
		unfinished := path + ".unfinished"
		build := b.goCommand("peers", "build", "-ldflags=-s -w", "-o", unfinished, peer.pkg)
		build.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0")
		if err := runLoudly(build); err != nil {
			return err
		}
		if err := os.Rename(unfinished, path); err != nil {
			return err
		}
	}
	return nil
}

// version returns the version of a module, which must be the library's.
func (b *bench) version(module string) (string, error) {
	list := b.goCommand("peers", "list", "-m", "-f", "{{.Version}}", module)
	list.Env = append(os.Environ(), "GOWORK=off")
	theirs, err := output(list)
	if err != nil {
		return "", err
	}
	ours, err := output(b.goCommand(".", "list", "-m", "-f", "{{.Version}}", module))
	if err != nil {
		return "", err
	}
	if ours != theirs {
		return "", fmt.Errorf("%s is %s in the library but %s in internal/bench/peers/go.mod: change the latter", module, ours, theirs)
	}
	return ours, nil
}
