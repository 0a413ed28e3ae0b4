// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package effects

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

var certificates = []effect{{
	name: "CertificateSigningRequest created and approved → signed",
	try: func(t *trial) {
		request, err := newRequest(t.user())
		if err != nil {
			t.fail(err)
			return
		}
		w := t.watch(requests, t.user())
		t.begin()
		t.create(requests, t.user(), "spec: {signerName: kubernetes.io/kube-apiserver-client, usages: [client auth], request: %s}", request)
		t.patch(requests, t.user(), "status: {conditions: [{type: Approved, status: 'True', reason: Bench}]}", "approval")
		w.until(func(o *unstructured.Unstructured) bool { return text(o, "status", "certificate") != "" })
	},
}}

// newRequest returns a PEM request for a client certificate, in base64.
func newRequest(user string) (string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: user}}, key)
	if err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})), nil
}
