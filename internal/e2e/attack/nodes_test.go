// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package attack

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/keyutil"
)

func nodeName(node string) pkix.Name {
	return pkix.Name{CommonName: "system:node:" + node, Organization: []string{"system:nodes"}}
}

// nodeRequest returns a request for a certificate of a node, and its new key, in PEM.
func nodeRequest(node string, hosts []string) (request, key []byte) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.CertificateRequest{Subject: nodeName(node)}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, private)
	if err != nil {
		panic(err)
	}
	if key, err = keyutil.MarshalPrivateKeyToPEM(private); err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), key
}

// errRefused is the error for a request that was denied or failed.
var errRefused = errors.New("refused")

// ask creates a certificate request and waits for the certificate.
func ask(ctx context.Context, c kubernetes.Interface, name, signer, node string, hosts []string) (cert, key []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	request, key := nodeRequest(node, hosts)
	all := c.CertificatesV1().CertificateSigningRequests()
	created, err := all.Create(ctx, newRequest(name, signer, request), metav1.CreateOptions{})
	if err != nil {
		return nil, nil, err
	}
	err = wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		got, err := all.Get(ctx, created.Name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		cert = got.Status.Certificate
		for _, condition := range got.Status.Conditions {
			if condition.Type != certificatesv1.CertificateApproved && len(cert) == 0 {
				return false, fmt.Errorf("%w: %s", errRefused, condition.Message)
			}
		}
		return len(cert) > 0, nil
	})
	if err != nil {
		return nil, nil, err
	}
	return cert, key, nil
}

// askToJoin requests the client certificate of a node, and returns its configuration.
func askToJoin(ctx context.Context, t *target, c kubernetes.Interface, request, node string) (*rest.Config, error) {
	cert, key, err := ask(ctx, c, request, certificatesv1.KubeAPIServerClientKubeletSignerName, node, nil)
	if err != nil {
		return nil, err
	}
	config := rest.AnonymousClientConfig(t.config(t.Admin))
	config.CertData, config.KeyData, config.QPS = cert, key, -1
	return config, nil
}

// newNode returns a ready Node.
func newNode(name string, port int32, addresses ...corev1.NodeAddress) *corev1.Node {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"kubernetes.io/hostname": name}}}
	node.Status.Addresses = addresses
	node.Status.DaemonEndpoints.KubeletEndpoint.Port = port
	node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	return node
}

// register creates the Node, or updates the existing one.
func register(ctx context.Context, c kubernetes.Interface, node *corev1.Node) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if _, err := c.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err == nil {
		return nil
	}
	old, err := c.CoreV1().Nodes().Get(ctx, node.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	old.Status.Addresses, old.Status.DaemonEndpoints = node.Status.Addresses, node.Status.DaemonEndpoints
	_, err = c.CoreV1().Nodes().UpdateStatus(ctx, old, metav1.UpdateOptions{})
	return err
}

// internal returns an internal address of a node.
func internal(address string) corev1.NodeAddress {
	return corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: address}
}
