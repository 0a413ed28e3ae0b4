// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kubembed/kubembed/internal/apiserver/access"
	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/etcd"
	"github.com/kubembed/kubembed/pkg/pki"
)

// waitTimeout bounds waits. No test asserts how long a wait takes.
const waitTimeout = testwait.Timeout

// plane is a running API server over an etcd of its own.
type plane struct {
	*apiserver.Server
	access.Internals
	pki  *pki.PKI
	etcd *etcd.Member
	dir  string // Config.Dir
}

// shared is the plane of all tests that need no special configuration. Each test uses its
// own namespaces and names.
var shared = sync.OnceValues(func() (*plane, error) {
	dir, err := os.MkdirTemp("", "kubembed-apiserver-test-")
	if err != nil {
		return nil, err
	}
	sharedDir = dir
	return newPlane(dir)
})

var sharedDir string

func sharedPlane(t testing.TB) *plane {
	t.Helper()
	p, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// closeShared stops the shared plane if any test has started it.
func closeShared() error {
	if sharedDir == "" {
		return nil
	}
	p, err := shared()
	if err != nil {
		return err
	}
	return errors.Join(p.close(), os.RemoveAll(sharedDir))
}

// startPlane starts a plane for one test.
func startPlane(t testing.TB, modify ...func(*apiserver.Config)) *plane {
	t.Helper()
	p, err := newPlane(t.TempDir(), modify...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// newPlane starts a plane the way pkg/controlplane does.
func newPlane(dir string, modify ...func(*apiserver.Config)) (_ *plane, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), waitTimeout)
	defer cancel()
	p := &plane{dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	if p.etcd, err = etcd.Start(ctx, etcd.Config{Dir: filepath.Join(dir, "etcd"), Ephemeral: true}); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	if p.pki, err = pki.Open(pki.Config{Hosts: []string{"127.0.0.1"}}); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	cfg := apiserver.Config{
		Listener: listener,
		Client:   p.etcd.Client(),
		Dial:     p.etcd.DialContext,
		PKI:      p.pki,
		Dir:      dir,
	}
	for _, m := range modify {
		m(&cfg)
	}
	server, err := apiserver.New(cfg)
	if err != nil {
		return nil, errors.Join(err, ignoreClosed(listener.Close()))
	}
	p.use(server)
	return p, server.Start(ctx)
}

// use sets the server of the plane.
func (p *plane) use(server *apiserver.Server) {
	p.Server, p.Internals = server, access.Of(server)
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (p *plane) close() error {
	var errs []error
	if p.Server != nil {
		ctx, cancel := context.WithTimeout(context.Background(), waitTimeout)
		defer cancel()
		errs = append(errs, p.Stop(ctx))
	}
	if p.etcd != nil {
		errs = append(errs, p.etcd.Close())
	}
	return errors.Join(errs...)
}

// admin is a client of the administrator, in-process.
func (p *plane) admin() *kubernetes.Clientset {
	return kubernetes.NewForConfigOrDie(p.ClientConfig())
}

// anonymous is a client configuration without credentials, over TLS.
func (p *plane) anonymous() *rest.Config {
	return &rest.Config{
		Host:            p.URL(),
		TLSClientConfig: rest.TLSClientConfig{CAData: p.pki.CABundle()},
		QPS:             -1,
	}
}

// as is a client configuration with a client certificate for user, over TLS.
func (p *plane) as(t testing.TB, user string, groups ...string) *rest.Config {
	t.Helper()
	pair, err := p.pki.IssueClient(user, groups, 0)
	if err != nil {
		t.Fatal(err)
	}
	return p.with(pair)
}

// with is a client configuration with a client certificate.
func (p *plane) with(pair pki.KeyPair) *rest.Config {
	c := p.anonymous()
	c.CertData, c.KeyData = pair.Cert, pair.Key
	return c
}

// bearer is a client configuration with a token, over TLS.
func (p *plane) bearer(token string) *rest.Config {
	c := p.anonymous()
	c.BearerToken = token
	return c
}

func clientset(t testing.TB, c *rest.Config) *kubernetes.Clientset {
	t.Helper()
	client, err := kubernetes.NewForConfig(c)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// httpClient is a plain client without client-go. With a zero pair it sends no
// certificate.
func (p *plane) httpClient(t testing.TB, pair pki.KeyPair) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(p.pki.CABundle())
	c := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
	if pair.Cert != nil {
		cert, err := pair.TLS()
		if err != nil {
			t.Fatal(err)
		}
		// Not Certificates: the client would not send the certificate of a CA that the
		// server has not named.
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	}
	transport := &http.Transport{TLSClientConfig: c, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: waitTimeout}
}

// inProcess is a plain client of the administrator.
func (p *plane) inProcess(t testing.TB) *http.Client {
	t.Helper()
	client, err := rest.HTTPClientFor(p.ClientConfig())
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// answer is a response that has been read.
type answer struct {
	status int
	header http.Header
	body   string
}

// call sends a request. Headers are "Name: value".
func (p *plane) call(t testing.TB, client *http.Client, method, path, body string, headers ...string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, p.URL()+path, bytes.NewReader([]byte(body)))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		request.Header.Del(name)
		request.Header.Add(name, value)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(content)}
}

// get sends a request of the administrator.
func (p *plane) get(t testing.TB, path string, headers ...string) answer {
	t.Helper()
	return p.call(t, p.inProcess(t), http.MethodGet, path, "", headers...)
}

// want fails the test unless the status is as expected.
func (a answer) want(t testing.TB, status int) answer {
	t.Helper()
	if a.status != status {
		t.Fatalf("HTTP %d, want %d: %.500s", a.status, status, a.body)
	}
	return a
}

// namespace makes a namespace. Nothing deletes it: there are no controllers.
func (p *plane) namespace(t testing.TB, labels ...string) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-", Labels: map[string]string{}}}
	for i := 0; i+1 < len(labels); i += 2 {
		ns.Labels[labels[i]] = labels[i+1]
	}
	ns, err := p.admin().CoreV1().Namespaces().Create(t.Context(), ns, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return ns.Name
}

// pod is the smallest pod.
func pod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "example.com/image:v1"}}},
	}
}

// tlsServer is an HTTPS server on loopback that logs nothing.
func tlsServer(t testing.TB, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS12, ClientAuth: tls.RequestClientCert}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

// must returns the value of a call that may not fail.
func must[T any](value T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// contains reports whether the text of err contains text.
func contains(err error, text string) bool { return err != nil && strings.Contains(err.Error(), text) }

// enterableDir returns a directory that every user may enter. That of testing is private.
func enterableDir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { //nolint:gosec // see above
		t.Fatal(err)
	}
	return dir
}
