// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package authz

import (
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/kubembed/kubembed/internal/ownership"
)

// readKubeconfig returns the content of a webhook's kubeconfig. It refuses a file that
// other users may change, and one that others may read if it has credentials or if the
// credentials that it names are in such a file.
func readKubeconfig(path string) (string, error) {
	if err := ownership.File(path); err != nil {
		return "", err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	config, err := clientcmd.Load(data)
	if err != nil {
		return "", fmt.Errorf("is no kubeconfig: %w", err)
	}
	if err := clientcmd.ConfirmUsable(*config, ""); err != nil {
		return "", fmt.Errorf("is no usable kubeconfig: %w", err)
	}
	for _, info := range config.AuthInfos {
		if err := checkCredentials(path, info); err != nil {
			return "", err
		}
	}
	return string(data), nil
}

// checkCredentials refuses credentials that other users can read.
func checkCredentials(kubeconfig string, info *clientcmdapi.AuthInfo) error {
	if info.Token != "" || info.Password != "" || len(info.ClientKeyData) > 0 {
		if err := ownership.Secret(kubeconfig); err != nil {
			return err
		}
	}
	for _, file := range []string{info.TokenFile, info.ClientKey} {
		if file == "" {
			continue
		}
		if !filepath.IsAbs(file) {
			file = filepath.Join(filepath.Dir(kubeconfig), file)
		}
		if err := ownership.Secret(file); err != nil {
			return err
		}
	}
	return nil
}
