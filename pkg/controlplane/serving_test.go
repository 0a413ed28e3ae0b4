// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/controlplane"
	"github.com/kubembed/kubembed/pkg/pki"
)

func listen(t testing.TB) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener
}

// wantClosed fails the test unless the control plane has closed a listener.
func wantClosed(t testing.TB, listener net.Listener) {
	t.Helper()
	if err := listener.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v, want a closed listener", err)
	}
}

// opaque is a listener whose address has a type of its own, as VPNs have.
type opaque struct {
	net.Listener
	address string
}

func (o opaque) Addr() net.Addr { return o }
func (opaque) Network() string  { return "opaque" }
func (o opaque) String() string { return o.address }

// TestListenerOfTheHost: it is used instead of an own one, and closed. DataDir does not
// remember its port.
func TestListenerOfTheHost(t *testing.T) {
	dir := t.TempDir()
	for name, wrap := range map[string]func(net.Listener) net.Listener{
		"TCP":   func(l net.Listener) net.Listener { return l },
		"a VPN": func(l net.Listener) net.Listener { return opaque{l, l.Addr().String()} },
	} {
		listener := listen(t)
		server, err := controlplane.Start(t.Context(), controlplane.Config{DataDir: dir, Listener: wrap(listener)})
		if err != nil {
			t.Fatal(err)
		}
		if want := "https://" + listener.Addr().String(); server.URL() != want {
			t.Errorf("%s: URL %s, want %s", name, server.URL(), want)
		}
		if _, err := overTLS(t, server, "jane").Discovery().ServerVersion(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		closeServer(t, server)
		wantClosed(t, listener)
	}
	if _, err := os.Stat(filepath.Join(dir, "ports.json")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a port is remembered: %v", err)
	}
}

// TestUnixSocket: clients reach it through a proxy, at BindAddress.
func TestUnixSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "api.sock")
	unix, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	front := listen(t)
	var proxied sync.WaitGroup
	defer proxied.Wait()
	defer func() { _ = front.Close() }()
	proxied.Go(func() {
		for {
			client, err := front.Accept()
			if err != nil {
				return
			}
			proxied.Go(func() { proxy(client, socket) })
		}
	})
	server, err := controlplane.Start(t.Context(), controlplane.Config{Listener: unix, BindAddress: front.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		closeServer(t, server)
		if _, err := os.Stat(socket); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket is still there: %v", err)
		}
	}()
	if want := "https://" + front.Addr().String(); server.URL() != want {
		t.Errorf("URL %s, want %s", server.URL(), want)
	}
	kubeconfig, err := server.Kubeconfig("jane", "system:masters")
	if err != nil {
		t.Fatal(err)
	}
	direct := fromKubeconfig(t, kubeconfig)
	direct.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	for name, config := range map[string]*rest.Config{"proxy": fromKubeconfig(t, kubeconfig), "socket": direct} {
		client := clientFor(t, config)
		watch, err := client.CoreV1().Namespaces().Watch(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		<-watch.ResultChan()
		watch.Stop()
	}
}

// proxy passes a connection on to a Unix socket.
func proxy(client net.Conn, socket string) {
	defer func() { _ = client.Close() }()
	server, err := net.Dial("unix", socket)
	if err != nil {
		return
	}
	go func() {
		_, _ = io.Copy(server, client)
		_ = server.Close()
	}()
	_, _ = io.Copy(client, server)
}

// TestListenerAndBindAddress: errors name the fields.
func TestListenerAndBindAddress(t *testing.T) {
	listener := listen(t)
	for name, test := range map[string]struct {
		cfg  controlplane.Config
		want string
	}{
		"two addresses": {controlplane.Config{Listener: listener, BindAddress: "127.0.0.1:1"}, `BindAddress: Invalid value: "127.0.0.1:1": must be empty: Listener is at ` + listener.Addr().String()},
		"no address":    {controlplane.Config{Listener: opaque{listener, "/run/api.sock"}}, `BindAddress: Required value: Listener is at "/run/api.sock"`},
		"nil pointer":   {controlplane.Config{Listener: (*net.TCPListener)(nil)}, "Listener: Invalid value: is a nil *net.TCPListener"},
		"nil embedded":  {controlplane.Config{Listener: struct{ net.Listener }{}}, `BindAddress: Required value: Listener is at ":0"`},
		"no port":       {controlplane.Config{Listener: opaque{listener, "@"}, BindAddress: "127.0.0.1:0"}, `BindAddress: Required value`},
		"no IP address": {controlplane.Config{Listener: opaque{listener, "@"}, BindAddress: "api:6443"}, `BindAddress: Invalid value`},
	} {
		if _, err := controlplane.Start(t.Context(), test.cfg); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %s", name, err, test.want)
		}
	}
	// They have not closed it.
	go func() { _, _ = net.Dial("tcp", listener.Addr().String()) }()
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := controlplane.Start(t.Context(), controlplane.Config{Listener: listener, DataDir: filepath.Join(file, "data")}); err == nil {
		t.Error("a directory in a file is accepted")
	}
	wantClosed(t, listener)
	listener = listen(t)
	tooLow := errors.New("the limit of open files is too low")
	restore := controlplane.SetOpenFiles(func() error { return tooLow })
	_, err = controlplane.Start(t.Context(), controlplane.Config{Listener: listener})
	restore()
	if !errors.Is(err, tooLow) {
		t.Errorf("got %v, want %v", err, tooLow)
	}
	wantClosed(t, listener)
	listener = listen(t)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := controlplane.Start(ended, controlplane.Config{Listener: listener}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	wantClosed(t, listener)
}

// TestForeignCertificate: with a certificate of another CA at every name and address,
// kubeconfigs, join files and ClientConfig still work, pods find its CA, and reloads are
// measured.
func TestForeignCertificate(t *testing.T) {
	ca, err := pki.Open(pki.Config{})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	write := func(hosts ...string) {
		t.Helper()
		pair, err := ca.IssueServing(hosts, 0)
		if err != nil {
			t.Fatal(err)
		}
		for file, content := range map[string][]byte{certFile: pair.Cert, keyFile: pair.Key} {
			if err := os.WriteFile(file, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	write("127.0.0.1", "localhost", "kubernetes.default.svc")
	server := start(t, controlplane.Config{Serving: apiserver.Serving{CertFile: certFile, KeyFile: keyFile, RootCAs: ca.CABundle()}})
	join, err := server.JoinKubeconfig(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	admin, err := server.Kubeconfig("jane", "system:masters")
	if err != nil {
		t.Fatal(err)
	}
	overTLS := server.ClientConfig()
	overTLS.WrapTransport = nil
	trusting := &rest.Config{Host: server.URL(), TLSClientConfig: rest.TLSClientConfig{CAData: ca.CABundle()}}
	for name, config := range map[string]*rest.Config{
		"join": fromKubeconfig(t, join), "admin": fromKubeconfig(t, admin), "ClientConfig": overTLS, "its own CA": trusting,
	} {
		if _, err := clientFor(t, config).Discovery().ServerVersion(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	roots, err := kubernetes.NewForConfigOrDie(server.ClientConfig()).CoreV1().ConfigMaps("default").Get(t.Context(), "kube-root-ca.crt", metav1.GetOptions{})
	if err != nil || !strings.Contains(roots.Data["ca.crt"], string(bytes.TrimSpace(ca.CABundle()))) || roots.Data["ca.crt"] != string(server.CABundle()) {
		t.Errorf("kube-root-ca.crt does not have both CAs: %v\n%v", err, roots)
	}
	reloads := func(status string) func(context.Context) error {
		return func(context.Context) error {
			families, err := server.Metrics().Gather()
			if err != nil {
				return err
			}
			for _, family := range families {
				if family.GetName() != "kubembed_serving_certificate_reloads_total" {
					continue
				}
				for _, metric := range family.Metric {
					if metric.Label[1].GetValue() == status && metric.Counter.GetValue() >= 1 {
						return nil
					}
				}
			}
			return fmt.Errorf("no reload with status %s", status)
		}
	}
	write("localhost")
	testwait.Until(t, "a reload", reloads("success"))
	if err := os.WriteFile(certFile, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	testwait.Until(t, "a failed reload", reloads("failure"))
	if _, err := clientFor(t, trusting).Discovery().ServerVersion(); err == nil {
		t.Error("the reloaded certificate has the address") // which the one before it had
	}
	trusting.ServerName = "localhost"
	if _, err := clientFor(t, trusting).Discovery().ServerVersion(); err != nil {
		t.Errorf("the former certificate does not stay: %v", err)
	}
}

// TestHandlerOfAControlPlane mounts a control plane in a server of the host's.
func TestHandlerOfAControlPlane(t *testing.T) {
	server := start(t, controlplane.Config{})
	host := httptest.NewServer(server.Handler())
	defer host.Close()
	kubeconfig, err := server.JoinKubeconfig(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	config := fromKubeconfig(t, kubeconfig)
	client := clientFor(t, &rest.Config{Host: host.URL, BearerToken: config.BearerToken})
	if _, err := client.CertificatesV1().CertificateSigningRequests().Get(t.Context(), "none", metav1.GetOptions{}); err == nil || !strings.Contains(err.Error(), "not found") {
		t.Errorf("got %v, want not found", err)
	}
	if _, err := client.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{}); err == nil || !strings.Contains(err.Error(), "forbidden") {
		t.Errorf("got %v, want forbidden", err)
	}
}
