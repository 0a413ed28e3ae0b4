// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package authn

import (
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/apiserver/pkg/authentication/token/tokenfile"
	webhookutil "k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/kubembed/kubembed/internal/ownership"
)

// secretFile refuses a file that others control or can read.
func secretFile(path string) error {
	if err := ownership.File(path); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return fmt.Errorf("%s: is a directory, want a file", path)
	}
	if mode := info.Mode().Perm(); readableByOthers(mode) && reachableByOthers(path) {
		return fmt.Errorf("%s: it has secrets, and its mode %04o lets all users of this machine read it: chmod o-r, and replace the secrets if others may have read them", path, mode)
	}
	return nil
}

// reachableByOthers reports whether others have access to all directories above a file.
// If that is unknown, it reports true.
func reachableByOthers(path string) bool {
	path, err := filepath.Abs(path)
	if err != nil {
		return true
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return true
	}
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err == nil && info.Mode().Perm()&0o001 == 0 {
			return false
		}
		if dir == filepath.Dir(dir) {
			return true
		}
	}
}

// CheckTokenFile returns why upstream cannot use a file of tokens, or should not.
func CheckTokenFile(path string) error {
	if err := secretFile(path); err != nil {
		return err
	}
	_, err := tokenfile.NewCSV(path)
	return err
}

// CheckKubeconfig returns why upstream cannot use the kubeconfig of a webhook, or should
// not.
func CheckKubeconfig(path string) error {
	if err := ownership.File(path); err != nil {
		return err
	}
	c, err := clientcmd.LoadFromFile(path)
	if err != nil {
		return err // it has the path
	}
	context, ok := c.Contexts[c.CurrentContext]
	if !ok {
		return fmt.Errorf("%s: it has no context %q: set current-context", path, c.CurrentContext)
	}
	if user := c.AuthInfos[context.AuthInfo]; user != nil {
		if user.Token != "" || user.Password != "" || len(user.ClientKeyData) > 0 {
			if err := secretFile(path); err != nil {
				return err
			}
		}
		if err := secretFilesOf(path, c, user); err != nil {
			return err
		}
	}
	if _, err := webhookutil.LoadKubeconfig(path, nil); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// secretFilesOf checks the files that a user in a kubeconfig names.
func secretFilesOf(path string, c *clientcmdapi.Config, user *clientcmdapi.AuthInfo) error {
	if err := clientcmd.ResolveLocalPaths(c); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for _, secret := range []string{user.ClientKey, user.TokenFile} {
		if secret == "" {
			continue
		}
		if err := secretFile(secret); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}
