// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package certificates

import (
	"slices"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/client-go/util/certificate/csr"

	"github.com/kubembed/kubembed/internal/join"
)

// lifetime returns the validity of the certificate for request.
func (s *signer) lifetime(request *certificatesv1.CertificateSigningRequest) time.Duration {
	return lifetime(request, s.duration, s.kubeletDuration)
}

// lifetime returns the requested validity, but at most kubeletDuration for a kubelet that
// renews its certificate, and at most duration for all others.
func lifetime(request *certificatesv1.CertificateSigningRequest, duration, kubeletDuration time.Duration) time.Duration {
	limit := duration
	if rotates(request) {
		limit = kubeletDuration
	}
	if request.Spec.ExpirationSeconds == nil {
		return limit
	}
	return min(max(csr.ExpirationSecondsToDuration(*request.Spec.ExpirationSeconds), minDuration), limit)
}

// rotates reports whether the request is of a kubelet that renews its certificate. A
// kubelet requests serving certificates only if it renews them (serverTLSBootstrap), and
// a node that requests a client certificate is renewing it. For the first client
// certificate, the name of the request decides: client-go's certificate manager, which
// runs with rotateCertificates, has it generated. Without rotateCertificates the kubelet
// derives the name from its key (LoadClientCert in
// k8s.io/kubernetes/pkg/kubelet/certificate/bootstrap). Such a kubelet would lose access
// when a short-lived certificate expires.
func rotates(request *certificatesv1.CertificateSigningRequest) bool {
	switch request.Spec.SignerName {
	case certificatesv1.KubeletServingSignerName:
		return true
	case certificatesv1.KubeAPIServerClientKubeletSignerName:
		if slices.Contains(request.Spec.Groups, join.Group) {
			return request.GenerateName == managerName
		}
		_, node := requester(request)
		return node
	}
	return false
}

// managerName is the generateName of client-go's certificate manager.
const managerName = "csr-"
