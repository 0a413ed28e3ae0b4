// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

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

// target is the attackers' knowledge of the control plane.
type target struct {
	// URL and Insecure are its addresses.
	URL, Insecure string
	// Admin is a kubeconfig of an administrator, and Low of a user who may list and
	// watch ConfigMaps and use the proxy of the node proxied.
	Admin, Low []byte
	// Nodes are kubeconfigs of nodes by name: good is honest, the others are
	// compromised.
	Nodes map[string][]byte
	// Join are join files. Each attack that needs one uses its own.
	Join [][]byte
	// Snapshots is the directory of snapshots for this process. SnapshotDisk reports
	// whether it is a disk of its own.
	Snapshots    string
	SnapshotDisk bool
	// Descriptors is the limit of the process.
	Descriptors int
}

// The join files, by the attack that uses them.
const (
	joinIdle = iota
	joinReset
	joinBodies
	joinFlood
	joinLarge
	joinRSA
	joinThief
	joinHonest
	joinFiles // their number
)

// host returns the address of the HTTPS listener.
func (t *target) host() string { return t.config(t.Admin).Host[len("https://"):] }

// config returns a client configuration without a rate limit.
func (t *target) config(kubeconfig []byte) *rest.Config {
	c, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	if err != nil {
		panic(err) // created by the library
	}
	c.QPS = -1
	return c
}

// client returns a client with its own connections, and a function that closes them.
func client(c *rest.Config) (*kubernetes.Clientset, func()) {
	c = rest.CopyConfig(c)
	// With its own Proxy, the transport is not shared through client-go's cache.
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

// roots returns the CAs that clients of the control plane trust.
func (t *target) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(t.config(t.Admin).CAData)
	return pool
}

// stranger returns the TLS configuration of a client without a certificate.
func stranger(protocol string) *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, NextProtos: []string{protocol}} // #nosec G402 -- an attacker
}

// dialTLS opens a connection without a client certificate.
func (t *target) dialTLS(ctx context.Context, protocol string) (net.Conn, error) {
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: 5 * time.Second}, Config: stranger(protocol)}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return d.DialContext(ctx, "tcp", t.host())
}

// browserless returns an HTTP client without a certificate. Close its idle connections.
func browserless() *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: stranger("h2"), ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 4}}
}

// httpClient returns an HTTP client with the credentials of a kubeconfig. Close its
// idle connections.
func (t *target) httpClient(kubeconfig []byte) *http.Client {
	c := t.config(kubeconfig)
	c.Proxy = http.ProxyFromEnvironment // see client
	hc, err := rest.HTTPClientFor(c)
	if err != nil {
		panic(err)
	}
	return hc
}
