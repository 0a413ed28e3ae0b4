package certificates

import (
	"slices"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/client-go/util/certificate/csr"

	"github.com/kubembed/kubembed/internal/join"
)

// lifetime returns the requested duration, within bounds.
func (s *signer) lifetime(request *certificatesv1.CertificateSigningRequest) time.Duration {
	return lifetime(request, s.duration, s.kubelets)
}

// lifetime is the time for which a certificate is signed: at most kubelets for a
// kubelet that renews it, and at most others for everybody else.
func lifetime(request *certificatesv1.CertificateSigningRequest, others, kubelets time.Duration) time.Duration {
	most := others
	if rotates(request) {
		most = kubelets
	}
	if request.Spec.ExpirationSeconds == nil {
		return most
	}
	return min(max(csr.ExpirationSecondsToDuration(*request.Spec.ExpirationSeconds), minDuration), most)
}

// rotates reports whether the request shows that a kubelet renews its
// certificate. A kubelet asks for serving certificates only if it renews them
// (serverTLSBootstrap), and a node that asks for a client certificate is renewing
// it. The first client certificate shows it by the name of the request:
// client-go's certificate manager, which runs with rotateCertificates, has it
// generated, and without rotateCertificates the kubelet names it after its key
// (LoadClientCert in k8s.io/kubernetes/pkg/kubelet/certificate/bootstrap). Such a
// kubelet would be lost when a short-lived certificate ends.
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
