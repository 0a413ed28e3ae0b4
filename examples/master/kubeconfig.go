// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/kubembed/kubembed/internal/files"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// The names of the kubeconfig files.
const (
	adminFile = "admin.kubeconfig"
	joinFile  = "join.kubeconfig"
)

// writeKubeconfigs writes a file for the administrator, and one for all workers, with
// which each kubelet requests its own identity.
func (o options) writeKubeconfigs(ctx context.Context, cp *controlplane.Server) error {
	admin, err := cp.Kubeconfig("kubernetes-admin", "system:masters")
	if err != nil {
		return err
	}
	if err := o.write(adminFile, admin); err != nil {
		return err
	}
	join, err := cp.JoinKubeconfig(ctx, o.joinLifetime)
	if err != nil {
		return err
	}
	return o.write(joinFile, join)
}

func (o options) write(name string, kubeconfig []byte) error {
	if err := files.WriteAtomic(o.path(name), kubeconfig, 0o600); err != nil {
		return fmt.Errorf("--kubeconfig-dir: %w", err)
	}
	return nil
}

// path returns the path of a kubeconfig file, relative if it is below the current
// directory.
func (o options) path(name string) string {
	return short(filepath.Join(o.kubeconfigDir, name))
}

// short returns path relative to the current directory if it is below it, and
// absolute otherwise.
func short(path string) string {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	cwd, err := os.Getwd()
	if err != nil {
		return absolute
	}
	relative, err := filepath.Rel(cwd, absolute)
	if err != nil || relative == ".." || strings.HasPrefix(relative, ".."+string(filepath.Separator)) {
		return absolute
	}
	return relative
}

// quote quotes a path for a shell if necessary.
func quote(path string) string {
	if plain.MatchString(path) {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

var plain = regexp.MustCompile(`^[\w./:\\@%+=-]+$`)
