// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

var errTest = errors.New("by the test")

// whoami returns the user of a configuration as the server sees it, or the error.
func whoami(t *testing.T, config *rest.Config) string {
	t.Helper()
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err.Error()
	}
	return userOf(t, client)
}

func userOf(t *testing.T, client kubernetes.Interface) string {
	t.Helper()
	review, err := client.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return err.Error()
	}
	return review.Status.UserInfo.Username
}

// TestCopyOfClientConfigIsObeyed: a copy's host, transport and credentials are used, as
// with any other configuration. They were ignored once.
func TestCopyOfClientConfigIsObeyed(t *testing.T) {
	t.Parallel()
	first, second := start(t, controlplane.Config{}), start(t, controlplane.Config{})
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	deadURL := "https://" + dead.Addr().String()
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	kubeconfig, err := first.Kubeconfig("jane")
	if err != nil {
		t.Fatal(err)
	}
	jane := fromKubeconfig(t, kubeconfig)
	request, err := admin(t, first).CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "default", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	token := request.Status.Token
	tokenFile := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(tokenFile, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	const account = "system:serviceaccount:default:default"
	local := "https://localhost:" + port(t, first.URL())

	for _, test := range []struct {
		name   string
		change func(c *rest.Config)
		want   string // a part of the user's name, or of the error
	}{
		{"unchanged", func(*rest.Config) {}, "kubernetes-admin"},
		{"a host that does not answer", func(c *rest.Config) { c.Host = deadURL }, "connection refused"},
		{"plain HTTP", func(c *rest.Config) { c.Host = strings.Replace(c.Host, "https", "http", 1) }, "the server rejected our request"},
		{"the host of another", func(c *rest.Config) { c.Host = second.ClientConfig().Host }, "certificate signed by unknown authority"},
		{"the host and the CA of another", func(c *rest.Config) { c.Host, c.CAData = second.URL(), second.CABundle() }, "Unauthorized"},
		{"all of another", func(c *rest.Config) { c.Host, c.TLSClientConfig = second.URL(), second.ClientConfig().TLSClientConfig }, "kubernetes-admin"},
		{"another name of the same", func(c *rest.Config) { c.Host = local }, "kubernetes-admin"},
		{"no slash", func(c *rest.Config) { c.Host = first.URL() }, "kubernetes-admin"},
		{"a path", func(c *rest.Config) { c.Host += "elsewhere" }, "could not find the requested resource"},
		{"dial", func(c *rest.Config) {
			c.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, errTest }
		}, errTest.Error()},
		{"proxy", func(c *rest.Config) {
			c.Proxy = func(*http.Request) (*url.URL, error) { return nil, errTest }
		}, errTest.Error()},
		{"server name", func(c *rest.Config) { c.ServerName = "elsewhere" }, "certificate is valid for"},
		{"another CA", func(c *rest.Config) { c.CAData = second.CABundle() }, "certificate signed by unknown authority"},
		{"insecure", func(c *rest.Config) { c.Insecure, c.CAData = true, nil }, "kubernetes-admin"},
		{"protocols", func(c *rest.Config) { c.NextProtos = []string{"http/1.1"} }, "kubernetes-admin"},
		{"certificate", func(c *rest.Config) { c.CertData, c.KeyData = jane.CertData, jane.KeyData }, "jane"},
		{"no certificate", func(c *rest.Config) { c.CertData, c.KeyData = nil, nil }, "Unauthorized"},
		{"token instead of the certificate", func(c *rest.Config) { c.CertData, c.KeyData, c.BearerToken = nil, nil, token }, account},
		{"token beside the certificate", func(c *rest.Config) { c.BearerToken = token }, account},
		{"wrong token", func(c *rest.Config) { c.BearerToken = "wrong" }, "Unauthorized"},
		{"token file", func(c *rest.Config) { c.BearerTokenFile = tokenFile }, account},
		{"password", func(c *rest.Config) { c.Username, c.Password = "jane", "secret" }, "Unauthorized"},
		{"anonymous", func(c *rest.Config) { *c = *rest.AnonymousClientConfig(c) }, "Unauthorized"},
		{"anonymous with a token", func(c *rest.Config) { *c = *rest.AnonymousClientConfig(c); c.BearerToken = token }, account},
		{"impersonation", func(c *rest.Config) { c.Impersonate.UserName = "jane" }, "jane"},
		{"impersonation by another", func(c *rest.Config) {
			c.CertData, c.KeyData, c.Impersonate.UserName = jane.CertData, jane.KeyData, "kubernetes-admin"
		}, `User "jane" cannot impersonate`},
		{"no wrapper", func(c *rest.Config) { c.WrapTransport = nil }, "kubernetes-admin"},
		{"a wrapper that redirects", func(c *rest.Config) {
			c.Wrap(before(func(r *http.Request) { r.URL.Host = strings.TrimPrefix(deadURL, "https://") }))
		}, "connection refused"},
		{"a wrapper that authenticates", func(c *rest.Config) {
			c.Wrap(before(func(r *http.Request) { r.Header["authorization"] = []string{"Bearer " + token} }))
		}, account},
		{"compression", func(c *rest.Config) { c.DisableCompression = true }, "kubernetes-admin"},
	} {
		config := rest.CopyConfig(first.ClientConfig())
		test.change(config)
		if got := whoami(t, config); !strings.Contains(got, test.want) {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
		// By value, not an existing client.
		byValue := *first.ClientConfig()
		client := clientFor(t, &byValue)
		test.change(&byValue)
		if got := whoami(t, &byValue); !strings.Contains(got, test.want) {
			t.Errorf("%s, by value: %q, want %q", test.name, got, test.want)
		}
		if got := userOf(t, client); got != "kubernetes-admin" {
			t.Errorf("%s: the user of the existing client: got %q, want kubernetes-admin", test.name, got)
		}
	}

	// The write goes where Host says.
	config := first.ClientConfig()
	config.Host, config.TLSClientConfig = second.ClientConfig().Host, second.ClientConfig().TLSClientConfig
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "where"}}
	if _, err := clientFor(t, config).CoreV1().ConfigMaps("default").Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := admin(t, second).CoreV1().ConfigMaps("default").Get(t.Context(), "where", metav1.GetOptions{}); err != nil {
		t.Errorf("in the second control plane: %v", err)
	}
	_, err = admin(t, first).CoreV1().ConfigMaps("default").Get(t.Context(), "where", metav1.GetOptions{})
	wantStatus(t, "in the first control plane", err, http.StatusNotFound)
}

// before changes each request.
func before(change func(*http.Request)) func(http.RoundTripper) http.RoundTripper {
	return func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			r = r.Clone(r.Context())
			change(r)
			return next.RoundTrip(r)
		})
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func port(t *testing.T, rawURL string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(hostPort(t, rawURL))
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// TestClientConfigIsLikeEnvtests: it has the fields that other projects read from
// envtest's configuration. It once had only a token of this process.
func TestClientConfigIsLikeEnvtests(t *testing.T) {
	t.Parallel()
	server := start(t, controlplane.Config{})
	config := server.ClientConfig()
	if config.Host != server.URL()+"/" || config.BearerToken != "" || !slices.Equal(config.CAData, server.CABundle()) {
		t.Errorf("got host %s and token %q, want %s/, no token and the CA of the control plane", config.Host, config.BearerToken, server.URL())
	}
	// Like Cluster API (util/kubeconfig.FromEnvTestConfig).
	made := clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"c": {Server: config.Host, CertificateAuthorityData: config.CAData}},
		Contexts:       map[string]*clientcmdapi.Context{"c": {Cluster: "c", AuthInfo: "u"}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{"u": {ClientCertificateData: config.CertData, ClientKeyData: config.KeyData}},
		CurrentContext: "c",
	}
	data, err := clientcmd.Write(made)
	if err != nil {
		t.Fatal(err)
	}
	client := clientFor(t, fromKubeconfig(t, data))
	if got := userOf(t, client); got != "kubernetes-admin" {
		t.Errorf("the user of a kubeconfig: got %q, want kubernetes-admin", got)
	}
	createPod(t, client, "by-kubeconfig")
	// Copies do not share slices.
	config.CertData[0], config.KeyData[0], config.CAData[0] = 0, 0, 0
	if got := whoami(t, server.ClientConfig()); got != "kubernetes-admin" {
		t.Errorf("the user after a copy was changed: got %q, want kubernetes-admin", got)
	}
	for _, text := range []string{server.ClientConfig().String(), server.ClientConfig().GoString()} {
		if strings.Contains(text, "PRIVATE KEY") {
			t.Errorf("got a text with the key, want none: %s", text)
		}
	}
	// HTTP paths of client-go, with and without a leading slash.
	raw, err := rest.HTTPClientFor(server.ClientConfig())
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{server.ClientConfig().Host + "readyz", server.ClientConfig().Host + "/readyz", server.URL() + "/api/v1/pods"} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := raw.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		if response.StatusCode != http.StatusOK || request.Header.Get("Authorization") != "" {
			t.Errorf("%s: got %s and a request with %v, want 200 and no Authorization", address, response.Status, request.Header)
		}
		if err := response.Body.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestClientConfigAfterClose: a client of a closed control plane does not reach another
// one at the same port.
func TestClientConfigAfterClose(t *testing.T) {
	t.Parallel()
	first := start(t, controlplane.Config{})
	old := first.ClientConfig()
	client := admin(t, first)
	network := rest.CopyConfig(old)
	network.NextProtos = []string{"http/1.1"}
	if got := whoami(t, network); got != "kubernetes-admin" {
		t.Fatalf("the user over the network: got %s, want kubernetes-admin", got)
	}
	closeServer(t, first)
	start(t, controlplane.Config{BindAddress: hostPort(t, first.URL())})
	for name, got := range map[string]string{"a client": userOf(t, client), "the configuration": whoami(t, old)} {
		if !strings.Contains(got, "the control plane is stopped") {
			t.Errorf("%s of the first control plane: got %q, want that it is stopped", name, got)
		}
	}
	if got := whoami(t, network); !strings.Contains(got, "certificate signed by unknown authority") {
		t.Errorf("a copy that goes over the network: got %q, want an unknown authority", got)
	}
}

// TestClientConfigIsRenewed: a configuration has a certificate with enough validity
// whenever it is requested, and an old one works in this process forever.
func TestClientConfigIsRenewed(t *testing.T) {
	a := startAging(t, nil)
	early := a.ClientConfig()
	if again := a.ClientConfig(); !slices.Equal(again.CertData, early.CertData) {
		t.Error("got a certificate for each configuration, want one for all")
	}
	for range 14 {
		a.clock.set(a.clock.Now().Add(month))
	}
	block, _ := pem.Decode(a.ClientConfig().CertData)
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if left := certificate.NotAfter.Sub(a.clock.Now()); left < 100*24*time.Hour {
		t.Errorf("validity of a new configuration: got %s, want at least 100 days", left)
	}
	if got := whoami(t, early); got != "kubernetes-admin" {
		t.Errorf("the user of a configuration of fourteen months ago: got %q, want kubernetes-admin", got)
	}
}
