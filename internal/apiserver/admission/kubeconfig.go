// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"fmt"
	"os"
	"runtime"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/kubembed/kubembed/internal/ownership"
)

// checkKubeconfig refuses a kubeconfig that cannot be read, and secrets in it, or in the
// files that it names, that other users of the machine can read or replace.
func checkKubeconfig(file string) error {
	config, err := clientcmd.LoadFromFile(file)
	if err != nil {
		return fmt.Errorf("the kubeconfig %s cannot be read: %w", file, err)
	}
	if err := clientcmd.ResolveLocalPaths(config); err != nil {
		return err
	}
	var secrets []string
	for _, user := range config.AuthInfos {
		if user.Token != "" || user.Password != "" || len(user.ClientKeyData) > 0 {
			secrets = append(secrets, file)
		}
		for _, path := range []string{user.TokenFile, user.ClientKey} {
			if path != "" {
				secrets = append(secrets, path)
			}
		}
	}
	for _, path := range secrets {
		if err := checkSecret(path); err != nil {
			return err
		}
	}
	return nil
}

func checkSecret(path string) error {
	if err := ownership.File(path); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if runtime.GOOS == "windows" { // which uses access lists
		return nil
	}
	if mode := info.Mode().Perm(); mode&0o004 != 0 {
		return fmt.Errorf("%s: its mode %04o lets every user of this machine read the secrets in it: chmod o-r", path, mode)
	}
	return nil
}
