package clientcert

import (
	"errors"
	"net/http"
	"strings"

	"k8s.io/apiserver/pkg/authentication/authenticator"
)

// KubeletClientUser is the user of PKI.KubeletClient.
const KubeletClientUser = "kube-apiserver-kubelet-client"

// RefuseKubeletClient refuses requests with the certificate that API servers show to
// kubelets. Such a request means that a server calls itself, at an address that it does
// not know to be its own, and would grant a client of a node's proxy the rights of
// kube-apiserver-kubelet-client. Kubelets only name that user in SubjectAccessReviews;
// the certificate itself has no use here but to ask for its user.
type RefuseKubeletClient struct{ authenticator.Request }

func (a RefuseKubeletClient) AuthenticateRequest(r *http.Request) (*authenticator.Response, bool, error) {
	response, ok, err := a.Request.AuthenticateRequest(r)
	if err == nil && ok && response.User.GetName() == KubeletClientUser &&
		r.TLS != nil && len(r.TLS.PeerCertificates) > 0 && Identifies(response, r.TLS.PeerCertificates[0]) && !asksWhoItIs(r) {
		return nil, false, errors.New("the certificate is for calls of kubelets, and this is an API server")
	}
	return response, ok, err
}

func asksWhoItIs(r *http.Request) bool {
	return r.Method == http.MethodPost && strings.HasPrefix(r.URL.Path, "/apis/authentication.k8s.io/") && strings.HasSuffix(r.URL.Path, "/selfsubjectreviews")
}
