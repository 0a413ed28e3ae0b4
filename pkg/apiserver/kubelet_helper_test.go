// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/client-go/util/connrotation"

	"github.com/kubembed/kubembed/pkg/pki"
)

// kubeletServer serves the API of a kubelet on loopback, and records its clients.
type kubeletServer struct {
	*httptest.Server
	connections *connrotation.ConnectionTracker
	mu          sync.Mutex
	callers     []*x509.Certificate
}

// vanish cuts all connections without closing them properly.
func (k *kubeletServer) vanish() { k.connections.CloseAll() }

// trackingListener passes its connections to a tracker.
type trackingListener struct {
	net.Listener
	connections *connrotation.ConnectionTracker
}

func (l trackingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.connections.Track(conn), nil
}

// startKubelet serves handler with a certificate. It requests a client certificate, as
// kubelets do, and the test checks it.
func startKubelet(t testing.TB, serving tls.Certificate, handler http.HandlerFunc) *kubeletServer {
	t.Helper()
	k := &kubeletServer{connections: connrotation.NewConnectionTracker()}
	k.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		k.mu.Lock()
		k.callers = append(k.callers, r.TLS.PeerCertificates[0])
		k.mu.Unlock()
		handler(w, r)
	}))
	// httptest does not check it, and would offer a protocol that net/http does not
	// serve.
	k.EnableHTTP2 = !strings.Contains(os.Getenv("GODEBUG"), "http2server=0")
	k.TLS = &tls.Config{MinVersion: tls.VersionTLS12, ClientAuth: tls.RequireAnyClientCert, Certificates: []tls.Certificate{serving}}
	k.Config.ErrorLog = log.New(io.Discard, "", 0)
	k.Listener = trackingListener{k.Listener, k.connections}
	k.StartTLS()
	t.Cleanup(func() {
		k.vanish()
		k.Close()
	})
	return k
}

// echoKubelet answers every request with the path.
func echoKubelet(t testing.TB, serving tls.Certificate) *kubeletServer {
	return startKubelet(t, serving, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		if r.Header.Get("Upgrade") != "" {
			w.WriteHeader(http.StatusTeapot)
		}
		_, _ = io.WriteString(w, r.URL.Path)
	})
}

func (k *kubeletServer) seen() []*x509.Certificate {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]*x509.Certificate(nil), k.callers...)
}

func (k *kubeletServer) port(t testing.TB) int32 {
	t.Helper()
	_, port, err := net.SplitHostPort(k.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return int32(must(strconv.Atoi(port))(t))
}

// serving returns a certificate of the kubelet of node for ip, signed by the CA, or
// self-signed if the CA is nil.
func serving(t testing.TB, authority *pki.CA, node, ip string, modify ...func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	template := &x509.Certificate{
		SerialNumber: must(rand.Int(rand.Reader, elliptic.P256().Params().N))(t),
		Subject:      pkix.Name{Organization: []string{"system:nodes"}, CommonName: "system:node:" + node},
		NotBefore:    time.Now().Add(-time.Minute),
		NotAfter:     time.Now().Add(time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses:  []net.IP{net.ParseIP(ip)},
	}
	for _, m := range modify {
		m(template)
	}
	parent, signer := template, any(key)
	if authority != nil {
		parent, signer = authority.Cert, authority.Key
	}
	der := must(x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer))(t)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// worker registers a node with addresses, and a pod of the same name on it in ns.
func (p *plane) worker(t testing.TB, ns, name string, kubelet int32, addresses ...corev1.NodeAddress) {
	t.Helper()
	nodes := p.admin().CoreV1().Nodes()
	node := must(nodes.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}))(t)
	t.Cleanup(func() { _ = nodes.Delete(context.WithoutCancel(t.Context()), name, metav1.DeleteOptions{}) })
	node.Status.Addresses = addresses
	node.Status.DaemonEndpoints.KubeletEndpoint.Port = kubelet
	must(nodes.UpdateStatus(t.Context(), node, metav1.UpdateOptions{}))(t)
	pod := pod(name)
	pod.Spec.NodeName = name
	must(p.admin().CoreV1().Pods(ns).Create(t.Context(), pod, metav1.CreateOptions{}))(t)
}

func internalIP(ip string) corev1.NodeAddress {
	return corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: ip}
}

// logs reads the log of a pod.
func (p *plane) logs(t testing.TB, ns, pod string, options corev1.PodLogOptions) (string, error) {
	t.Helper()
	stream, err := p.admin().CoreV1().Pods(ns).GetLogs(pod, &options).Stream(t.Context())
	if err != nil {
		return "", err
	}
	defer stream.Close()
	content, err := io.ReadAll(stream)
	return string(content), err
}

// executors are client-go's, for a subresource of a pod.
func (p *plane) executors(t testing.TB, ns, pod, subresource string) map[string]remotecommand.Executor {
	t.Helper()
	return executors(t, p.ClientConfig(), ns, pod, subresource)
}

// executors are those of a client configuration.
func executors(t testing.TB, config *rest.Config, ns, pod, subresource string) map[string]remotecommand.Executor {
	t.Helper()
	request := clientset(t, config).CoreV1().RESTClient().Post().Namespace(ns).Resource("pods").Name(pod).SubResource(subresource)
	var at *url.URL
	switch subresource {
	case "exec":
		at = request.VersionedParams(&corev1.PodExecOptions{Command: []string{"cat"}, Stdin: true, Stdout: true}, scheme.ParameterCodec).URL()
	case "attach":
		at = request.VersionedParams(&corev1.PodAttachOptions{Stdin: true, Stdout: true}, scheme.ParameterCodec).URL()
	default:
		t.Fatal(fmt.Errorf("no executor of %s", subresource))
	}
	return map[string]remotecommand.Executor{
		"SPDY":      must(remotecommand.NewSPDYExecutor(config, http.MethodPost, at))(t),
		"WebSocket": must(remotecommand.NewWebSocketExecutor(config, http.MethodGet, at.String()))(t),
	}
}

// portForward opens the connection of kubectl port-forward.
func (p *plane) portForward(t testing.TB, ns, pod string) error {
	t.Helper()
	transport, upgrader, err := spdy.RoundTripperFor(p.ClientConfig())
	if err != nil {
		t.Fatal(err)
	}
	at := p.admin().CoreV1().RESTClient().Post().Namespace(ns).Resource("pods").Name(pod).SubResource("portforward").URL()
	conn, _, err := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, at).Dial("portforward.k8s.io")
	if err == nil {
		_ = conn.Close()
	}
	return err
}
