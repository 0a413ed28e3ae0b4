package apiserver

import (
	"crypto/rsa"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/kubernetes/pkg/apis/certificates"
)

// maxRSABits is what crypto/tls takes. Verifying the signature of a key of 128 kB
// takes 12 s, whether the client waits or not.
const maxRSABits = 8192

// checkCertificateRequest refuses keys that are too large, before upstream
// verifies the request's signature with them.
func checkCertificateRequest(a admission.Attributes) error {
	if a.GetOperation() != admission.Create || a.GetResource().GroupResource() != certificates.Resource("certificatesigningrequests") {
		return nil
	}
	request, ok := a.GetObject().(*certificates.CertificateSigningRequest)
	if !ok {
		return nil
	}
	parsed, err := certificates.ParseCSR(request.Spec.Request)
	if err != nil {
		return nil // upstream says so
	}
	if key, ok := parsed.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() > maxRSABits {
		return apierrors.NewBadRequest(fmt.Sprintf("spec.request: the RSA key has %d bits: the largest that is accepted has %d", key.N.BitLen(), maxRSABits))
	}
	return nil
}
