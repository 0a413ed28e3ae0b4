// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import "crypto/tls"

// KeyPair is a certificate and its key, in PEM.
type KeyPair struct{ Cert, Key []byte }

// TLS returns the pair for crypto/tls.
func (p KeyPair) TLS() (tls.Certificate, error) { return tls.X509KeyPair(p.Cert, p.Key) }

// ServingCertificate returns a certificate of the control plane for a server at hosts,
// which are DNS names and IP addresses. It fails after the end of the test.
func (cp *ControlPlane) ServingCertificate(hosts ...string) (KeyPair, error) {
	if err := cp.endedErr(); err != nil {
		return KeyPair{}, err
	}
	return cp.server.ServingCertificate(hosts...)
}

// NodeServingCertificate returns a serving certificate for the kubelet of a node. It
// fails after the end of the test.
func (cp *ControlPlane) NodeServingCertificate(node string, hosts ...string) (KeyPair, error) {
	if err := cp.endedErr(); err != nil {
		return KeyPair{}, err
	}
	return cp.server.NodeServingCertificate(node, hosts...)
}
