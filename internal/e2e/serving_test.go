// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/pem"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/controlplane"
	"github.com/kubembed/kubembed/pkg/pki"
)

// TestKubectlWithACertificateOfTheHost: kubectl connects with the kubeconfigs of the
// control plane, and with the CA of the host's certificate.
func TestKubectlWithACertificateOfTheHost(t *testing.T) {
	ca, err := pki.Open(pki.Config{})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	pair, err := ca.IssueServing([]string{"localhost", "127.0.0.1"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	_, server := startServer(t, controlplane.Config{Serving: apiserver.Serving{CertFile: file("tls.crt", pair.Cert), KeyFile: file("tls.key", pair.Key)}})
	kubeconfig, err := server.Kubeconfig("jane", "system:masters")
	if err != nil {
		t.Fatal(err)
	}
	k := kubectlFor(t, kubeconfig)
	k.ok(t, "create", "configmap", "made", "--from-literal=a=b")
	want(t, k.ok(t, "get", "configmap", "made", "-o", "yaml"), "a: b")
	want(t, k.ok(t, "auth", "whoami"), "jane")
	// kubectl leaves out the name in the kubeconfig with another server.
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(server.URL(), "https://"))
	k.fails(t, "", "unknown authority", "--server", "https://localhost:"+port, "get", "namespaces")
	want(t, k.ok(t, "--server", "https://localhost:"+port, "--certificate-authority", file("ca.crt", ca.CABundle()), "get", "namespaces"), "kube-system")
}

// TestKubectlThroughAServerOfTheHost: the control plane is below a path of the host's
// server.
func TestKubectlThroughAServerOfTheHost(t *testing.T) {
	_, server := startServer(t, controlplane.Config{})
	mux := http.NewServeMux()
	mux.Handle("/clusters/one/", http.StripPrefix("/clusters/one", server.Handler()))
	host := httptest.NewTLSServer(mux)
	defer host.Close()
	ca := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: host.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	kubeconfig, err := server.Kubeconfig("jane", "system:masters")
	if err != nil {
		t.Fatal(err)
	}
	token := strings.TrimSpace(kubectlFor(t, kubeconfig).eventually(t, "-n", "kube-system", "create", "token", "default"))
	k := kubectlFor(t, []byte("apiVersion: v1\nkind: Config\n"))
	through := func(args ...string) []string {
		return append([]string{"--server", host.URL + "/clusters/one", "--certificate-authority", ca, "--token", token}, args...)
	}
	want(t, k.ok(t, through("auth", "whoami")...), "system:serviceaccount:kube-system:default")
	want(t, k.ok(t, through("api-resources")...), "configmaps")
	k.fails(t, "", "forbidden", through("get", "pods")...)
	kubectlFor(t, kubeconfig).ok(t, "create", "clusterrolebinding", "through", "--clusterrole=cluster-admin", "--serviceaccount=kube-system:default")
	k.ok(t, through("create", "configmap", "made", "--from-literal=a=b")...)
	want(t, k.ok(t, through("get", "configmaps", "--all-namespaces")...), "made")
}
