package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/kubembed/kubembed/pkg/controlplane"
	"github.com/kubembed/kubembed/pkg/pki"
)

// adminFile is the name of the administrator's kubeconfig file.
const adminFile = "admin"

// writeKubeconfigs writes a file for the administrator and one for each worker:
// the API server lets a kubelet touch its own node and the pods on it only, so
// it must know which worker it is talking to.
func (o options) writeKubeconfigs(cp *controlplane.Server) error {
	if err := os.MkdirAll(o.kubeconfigDir, 0o700); err != nil {
		return fmt.Errorf("--kubeconfig-dir: %w", err)
	}
	admin, err := cp.Kubeconfig("kubernetes-admin", "system:masters")
	if err != nil {
		return err
	}
	if err := o.write(adminFile, admin); err != nil {
		return err
	}
	for _, name := range o.workers {
		worker, err := cp.NodeKubeconfig(name)
		if err != nil {
			return fmt.Errorf("--worker: %w", err)
		}
		if err := o.write(name, worker); err != nil {
			return err
		}
	}
	return nil
}

func (o options) write(name string, kubeconfig []byte) error {
	if err := pki.WriteFile(o.kubeconfig(name), kubeconfig, 0o600); err != nil {
		return fmt.Errorf("--kubeconfig-dir: %w", err)
	}
	return nil
}

// kubeconfig is the path of a kubeconfig file, short if it is below the current
// folder.
func (o options) kubeconfig(name string) string {
	return short(filepath.Join(o.kubeconfigDir, name+".kubeconfig"))
}

// short returns path relative to the current folder if it is below it, and
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
