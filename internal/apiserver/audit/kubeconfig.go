// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"fmt"
	"os"
	"runtime"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/kubembed/kubembed/internal/ownership"
)

// checkKubeconfig refuses a kubeconfig that is missing, that other users may change, or
// with credentials that every user can read.
func checkKubeconfig(file string) error {
	if err := ownership.File(file); err != nil {
		return err
	}
	config, err := clientcmd.LoadFromFile(file)
	if err != nil {
		return fmt.Errorf("%w: write a kubeconfig with the URL of the webhook", err)
	}
	if err := clientcmd.ConfirmUsable(*config, ""); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if err := clientcmd.ResolveLocalPaths(config); err != nil {
		return err
	}
	for _, user := range config.AuthInfos {
		secrets := []string{user.TokenFile, user.ClientKey}
		if user.Token != "" || user.Password != "" || len(user.ClientKeyData) > 0 {
			secrets = append(secrets, file)
		}
		for _, secret := range secrets {
			if err := checkSecret(secret); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkSecret(file string) error {
	if file == "" {
		return nil
	}
	if err := ownership.File(file); err != nil {
		return err
	}
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	if mode := info.Mode().Perm(); runtime.GOOS != "windows" && mode&0o004 != 0 {
		return fmt.Errorf("%s has credentials, and its mode %04o lets every user read them: chmod o-r", file, mode)
	}
	return nil
}
