// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package authn

import (
	"k8s.io/apiserver/pkg/authentication/token/tokenfile"

	"github.com/kubembed/kubembed/internal/ownership"
)

// CheckTokenFile returns why upstream cannot use a file of tokens, or should not.
func CheckTokenFile(path string) error {
	if err := ownership.Secret(path); err != nil {
		return err
	}
	_, err := tokenfile.NewCSV(path)
	return err
}
