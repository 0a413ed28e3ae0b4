// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"path/filepath"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
)

func TestKubeconfigRoundTrip(t *testing.T) {
	p := mustOpen(t, Config{})
	kp := mustIssue(t, p, "jane", "admins")
	for _, name := range []string{"jane", "system:node:worker1", ""} {
		cfg := Kubeconfig("https://192.0.2.1:6443", p.CABundle(), name, kp)
		if err := clientcmd.ConfirmUsable(*cfg, ""); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "kubeconfig")
		if err := clientcmd.WriteToFile(*cfg, path); err != nil {
			t.Fatal(err)
		}
		loaded, err := clientcmd.LoadFromFile(path)
		if err != nil {
			t.Fatal(err)
		}
		wantUser := name
		if name == "" {
			wantUser = "kubembed"
		}
		if loaded.CurrentContext != "kubembed" || loaded.Contexts["kubembed"].Cluster != "kubembed" || loaded.AuthInfos[wantUser] == nil {
			t.Errorf("names in %v", loaded)
		}
		rest, err := clientcmd.BuildConfigFromFlags("", path)
		if err != nil {
			t.Fatal(err)
		}
		if rest.Host != "https://192.0.2.1:6443" || !bytes.Equal(rest.CAData, p.CABundle()) ||
			!bytes.Equal(rest.CertData, kp.Cert) || !bytes.Equal(rest.KeyData, kp.Key) ||
			rest.CAFile != "" || rest.CertFile != "" || rest.KeyFile != "" {
			t.Errorf("client configuration %v", rest)
		}
	}
}
