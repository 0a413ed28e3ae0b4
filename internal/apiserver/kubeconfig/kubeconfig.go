// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package kubeconfig reads the kubeconfigs with which the API server calls webhooks.
package kubeconfig

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/kubembed/kubembed/internal/ownership"
)

// Check refuses a kubeconfig that cannot be read, or one that other users may change,
// also by the files of its CAs. It also refuses credentials, in the kubeconfig or in the
// files that it names, that every user of the machine can read.
func Check(path string) error {
	_, _, err := load(path)
	return err
}

// Read returns the content of a kubeconfig that Check accepts, and with which upstream
// calls a webhook.
func Read(path string) ([]byte, error) {
	config, data, err := load(path)
	if err != nil {
		return nil, err
	}
	// Without a context upstream takes the service account of a pod that it runs in.
	if config.Contexts[config.CurrentContext] == nil {
		return nil, fmt.Errorf("%s is no usable kubeconfig: it has no context %q: set current-context", path, config.CurrentContext)
	}
	if _, err := webhook.LoadKubeconfig(path, nil); err != nil {
		return nil, fmt.Errorf("%s is no usable kubeconfig: %w", path, err)
	}
	return data, nil
}

func load(path string) (*clientcmdapi.Config, []byte, error) {
	if err := ownership.File(path); err != nil {
		return nil, nil, err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	config, err := clientcmd.Load(data)
	if err != nil {
		return nil, nil, fmt.Errorf("%s is no kubeconfig: %w", path, err)
	}
	for _, cluster := range config.Clusters {
		if err := checkFile(path, cluster.CertificateAuthority, ownership.File); err != nil {
			return nil, nil, err
		}
	}
	for _, user := range config.AuthInfos {
		if user.Token != "" || user.Password != "" || len(user.ClientKeyData) > 0 {
			if err := ownership.Secret(path); err != nil {
				return nil, nil, err
			}
		}
		for _, file := range []string{user.TokenFile, user.ClientKey} {
			if err := checkFile(path, file, ownership.Secret); err != nil {
				return nil, nil, err
			}
		}
		if err := checkFile(path, user.ClientCertificate, ownership.Regular); err != nil {
			return nil, nil, err
		}
		if f, ok := filesOf(user); ok {
			if _, err := tls.LoadX509KeyPair(beside(path, f.cert), beside(path, f.key)); err != nil {
				return nil, nil, fmt.Errorf("%s: client-certificate %s and client-key %s: %w", path, f.cert, f.key, err)
			}
		}
	}
	return config, data, nil
}

// beside returns the path of a file that the kubeconfig names, relative to itself.
func beside(kubeconfig, file string) string {
	if filepath.IsAbs(file) {
		return file
	}
	return filepath.Join(filepath.Dir(kubeconfig), file)
}

// checkFile checks a file that the kubeconfig names.
func checkFile(kubeconfig, file string, check func(string) error) error {
	if file == "" {
		return nil
	}
	file = beside(kubeconfig, file)
	if _, err := os.Stat(file); err != nil {
		return fmt.Errorf("%s: %w", kubeconfig, err)
	}
	if err := check(file); err != nil {
		return fmt.Errorf("%s: %w", kubeconfig, err)
	}
	return nil
}
