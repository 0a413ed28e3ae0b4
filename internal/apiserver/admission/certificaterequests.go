// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"crypto/rsa"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/kubernetes/pkg/apis/certificates"
)

// maxRSABits is the limit of crypto/tls. The verification of a signature with a key of
// 128 kB takes 12 s, even if the client is gone.
const maxRSABits = 8192

// CheckCertificateRequest refuses a CertificateSigningRequest with a key that is too
// large, before upstream verifies its signature.
func CheckCertificateRequest(a admission.Attributes) error {
	if a.GetOperation() != admission.Create || a.GetResource().GroupResource() != certificates.Resource("certificatesigningrequests") {
		return nil
	}
	request, ok := a.GetObject().(*certificates.CertificateSigningRequest)
	if !ok {
		return nil
	}
	parsed, err := certificates.ParseCSR(request.Spec.Request)
	if err != nil {
		return nil //nolint:nilerr // upstream returns the error
	}
	if key, ok := parsed.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() > maxRSABits {
		return apierrors.NewBadRequest(fmt.Sprintf("spec.request: the RSA key has %d bits: the maximum is %d", key.N.BitLen(), maxRSABits))
	}
	return nil
}
