// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package egress

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/util/cert"

	"github.com/kubembed/kubembed/pkg/pki"
)

// kubeletRoots holds the CAs of kubelet serving certificates.
type kubeletRoots struct {
	kubelets *x509.CertPool
	// cluster is the CA that signed kubelet serving certificates in older releases.
	// They stay valid until kubelets renew them: this CA, too, signed certificates with
	// the subject of a node only for that node.
	cluster *x509.CertPool
}

func newKubeletRoots(p *pki.PKI) kubeletRoots {
	r := kubeletRoots{kubelets: x509.NewCertPool(), cluster: x509.NewCertPool()}
	r.kubelets.AppendCertsFromPEM(p.KubeletServingCABundle())
	r.cluster.AppendCertsFromPEM(p.CABundle())
	return r
}

// verify returns a tls.Config.VerifyConnection that requires the serving certificate of
// the kubelet of node: another node may have had the address before, and still have a
// certificate for it.
func (r kubeletRoots) verify(node types.NodeName, host string) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) == 0 {
			return errors.New("the server sent no certificate")
		}
		chain, leaf := state.PeerCertificates, state.PeerCertificates[0]
		err := verifyServing(r.kubelets, chain, host)
		if err != nil && verifyServing(r.cluster, chain, host) == nil {
			err = nil
		}
		if err == nil {
			err = checkNodeSubject(leaf, node)
		}
		if err != nil {
			// The same type as crypto/tls returns.
			return &tls.CertificateVerificationError{UnverifiedCertificates: chain, Err: err}
		}
		return nil
	}
}

// verifyServing verifies a chain as a crypto/tls client does. host may be an IP
// address; an empty host matches any certificate.
func verifyServing(roots *x509.CertPool, chain []*x509.Certificate, host string) error {
	intermediates := x509.NewCertPool()
	for _, c := range chain[1:] {
		intermediates.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots:         roots,
		Intermediates: intermediates,
		DNSName:       host,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	return err
}

var commonNameOID = asn1.ObjectIdentifier{2, 5, 4, 3}

// checkNodeSubject returns an error unless leaf has the subject that the signer
// kubernetes.io/kubelet-serving gives the kubelet of node.
func checkNodeSubject(leaf *x509.Certificate, node types.NodeName) error {
	names := 0
	for _, attribute := range leaf.Subject.Names {
		if attribute.Type.Equal(commonNameOID) {
			names++
		}
	}
	want := "system:node:" + string(node)
	if names == 1 && leaf.Subject.CommonName == want &&
		len(leaf.Subject.Organization) == 1 && leaf.Subject.Organization[0] == user.NodesGroup {
		return nil
	}
	return fmt.Errorf("x509: certificate is of %.300q, not of CN=%s,O=%s", leaf.Subject.String(), want, user.NodesGroup)
}

// refuseOwn implements tls.Config.VerifyConnection if a kubelet may have any certificate.
// It rejects the API server itself, which would process the request as one of
// kube-apiserver-kubelet-client.
func (k *Kubelets) refuseOwn(state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("the server sent no certificate")
	}
	leaf := state.PeerCertificates[0]
	own, err := cert.ParseCertsPEM(k.pki.Serving().Cert)
	if err == nil && bytes.Equal(own[0].Raw, leaf.Raw) ||
		leaf.Subject.CommonName == servingCommonName && verifyServing(k.roots.cluster, state.PeerCertificates, "") == nil {
		return errors.New("the server is an API server, not a kubelet")
	}
	return nil
}

// servingCommonName is the common name of PKI.Serving.
const servingCommonName = "kube-apiserver"
