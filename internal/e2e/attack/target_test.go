//go:build linux

package attack

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// target is what attackers know of the control plane.
type target struct {
	// URL and Insecure are where it serves.
	URL, Insecure string
	// Admin is a kubeconfig of an administrator, Low of a user who may list and watch
	// ConfigMaps and use the proxy of the node proxied.
	Admin, Low []byte
	// Nodes are kubeconfigs of nodes, by name: good is honest, the others are
	// compromised.
	Nodes map[string][]byte
	// Join are join files: each attack that needs one takes its own.
	Join [][]byte
	// Snapshots is where snapshots go, as this process sees it, and SnapshotDisk
	// whether that is a disk of its own.
	Snapshots    string
	SnapshotDisk bool
	// Descriptors is the limit of its process.
	Descriptors int
}

// The join files, by who has stolen them.
const (
	joinIdle = iota
	joinReset
	joinBodies
	joinFlood
	joinLarge
	joinRSA
	joinThief
	joinHonest
	joinFiles // how many there are
)

// host is the address of the HTTPS listener.
func (t *target) host() string { return t.config(t.Admin).Host[len("https://"):] }

// config is a client configuration without a limit of its own.
func (t *target) config(kubeconfig []byte) *rest.Config {
	c, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	if err != nil {
		panic(err) // made by the library
	}
	c.QPS = -1
	return c
}

// client returns a client with connections of its own, and a function to close them.
func client(c *rest.Config) (*kubernetes.Clientset, func()) {
	c = rest.CopyConfig(c)
	// With a Proxy of its own the transport is not shared through client-go's cache.
	c.Proxy = http.ProxyFromEnvironment
	hc, err := rest.HTTPClientFor(c)
	if err != nil {
		panic(err)
	}
	set, err := kubernetes.NewForConfigAndClient(c, hc)
	if err != nil {
		panic(err)
	}
	return set, hc.CloseIdleConnections
}

func (t *target) token(join int) string { return t.config(t.Join[join]).BearerToken }

// roots are the authorities that clients of the control plane trust.
func (t *target) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(t.config(t.Admin).CAData)
	return pool
}

// stranger is the TLS configuration of a client without certificate.
func stranger(protocol string) *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, NextProtos: []string{protocol}} // #nosec G402 -- an attacker
}

// dialTLS opens a connection without certificate.
func (t *target) dialTLS(ctx context.Context, protocol string) (net.Conn, error) {
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: 5 * time.Second}, Config: stranger(protocol)}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return d.DialContext(ctx, "tcp", t.host())
}

// browserless is an HTTP client without certificate. Close its idle connections.
func browserless() *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: stranger("h2"), ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 4}}
}

// httpClient has the credentials of a kubeconfig. Close its idle connections.
func (t *target) httpClient(kubeconfig []byte) *http.Client {
	c := t.config(kubeconfig)
	c.Proxy = http.ProxyFromEnvironment // see client
	hc, err := rest.HTTPClientFor(c)
	if err != nil {
		panic(err)
	}
	return hc
}
