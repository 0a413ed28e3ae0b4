// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package kubeconfig_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kubembed/kubembed/internal/apiserver/kubeconfig"
)

const usable = `apiVersion: v1
kind: Config
current-context: webhook
contexts: [{name: webhook, context: {cluster: webhook, user: webhook}}]
clusters: [{name: webhook, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: webhook, user: {}}]
`

func TestRead(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { //nolint:gosec // testing makes it private
		t.Fatal(err)
	}
	write := func(name, content string, mode os.FileMode) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("secret", "secret", 0o600)
	write("public", "secret", 0o644)
	write("open", "CA", 0o666)
	with := func(credentials string) string {
		return strings.Replace(usable, "user: {}", "user: {"+credentials+"}", 1)
	}
	for name, test := range map[string]struct {
		content, want string
		mode          os.FileMode
	}{
		"without credentials":   {usable, "", 0o644},
		"a token":               {with("token: secret"), "", 0o600},
		"a public token":        {with("token: secret"), "chmod o-r", 0o644},
		"a public password":     {with("username: u, password: p"), "chmod o-r", 0o644},
		"a public key":          {with("client-key-data: c2VjcmV0"), "chmod o-r", 0o644},
		"a file of a token":     {with("tokenFile: secret"), "", 0o644},
		"a public file":         {with("tokenFile: public"), "chmod o-r", 0o644},
		"a public file of keys": {with("client-key: public"), "chmod o-r", 0o644},
		"a missing file":        {with("tokenFile: missing"), "no such file", 0o644},
		"no certificate":        {with("client-certificate: secret, client-key: secret"), "client-certificate secret and client-key secret: tls: ", 0o644},
		"writable for others":   {usable, "chmod go-w", 0o666},
		"a CA of others":        {strings.Replace(usable, "cluster: {server", "cluster: {certificate-authority: open, server", 1), "open: other users", 0o644},
		"no YAML":               {"text", "is no kubeconfig", 0o600},
		"empty":                 {"", "is no usable kubeconfig", 0o600},
		"no context":            {strings.Replace(usable, "current-context: webhook", "", 1), "set current-context", 0o600},
	} {
		path := write("kubeconfig", test.content, test.mode)
		data, err := kubeconfig.Read(path)
		if test.want == "" {
			if err != nil || string(data) != test.content {
				t.Errorf("%s: got %q and %v", name, data, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
	// The kubeconfig of a webhook plugin has users by the names of hosts, and no context.
	if err := kubeconfig.Check(write("kubeconfig", strings.Replace(usable, "current-context: webhook", "", 1), 0o600)); err != nil {
		t.Errorf("without a context: got %v", err)
	}
	if err := kubeconfig.Check(filepath.Join(dir, "none")); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("a missing kubeconfig: got %v", err)
	}
}
