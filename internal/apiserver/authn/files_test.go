// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package authn_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/kubembed/kubembed/internal/apiserver/authn"
)

// TestTokenFileThatHasGone: the file may change after the validation.
func TestTokenFileThatHasGone(t *testing.T) {
	_, err := authn.New(t.Context(), authn.Config{TokenFile: filepath.Join(t.TempDir(), "gone")})
	if err == nil || !strings.HasPrefix(err.Error(), "apiserver: Config.Authentication.TokenFile: open ") {
		t.Errorf("got %v", err)
	}
}
