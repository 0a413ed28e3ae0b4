// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package clientcert

import (
	"errors"
	"net/http"
	"strings"

	"k8s.io/apiserver/pkg/authentication/authenticator"
)

// KubeletClientUser is the user of PKI.KubeletClient.
const KubeletClientUser = "kube-apiserver-kubelet-client"

// RefuseKubeletClient rejects requests with the certificate that API servers send to
// kubelets. With such a request a server calls itself, at an address that it does not
// know as its own, and a client of a node's proxy would get the permissions of
// kube-apiserver-kubelet-client. Kubelets only name that user in SubjectAccessReviews.
// The only allowed request is one for the user of the certificate, a SelfSubjectReview.
type RefuseKubeletClient struct{ authenticator.Request }

// AuthenticateRequest implements authenticator.Request.
func (a RefuseKubeletClient) AuthenticateRequest(r *http.Request) (*authenticator.Response, bool, error) {
	response, ok, err := a.Request.AuthenticateRequest(r)
	if err == nil && ok && response.User.GetName() == KubeletClientUser &&
		r.TLS != nil && len(r.TLS.PeerCertificates) > 0 && Identifies(response, r.TLS.PeerCertificates[0]) && !asksWhoItIs(r) {
		return nil, false, errors.New("this certificate is only for requests to kubelets, and this is an API server")
	}
	return response, ok, err
}

func asksWhoItIs(r *http.Request) bool {
	return r.Method == http.MethodPost && strings.HasPrefix(r.URL.Path, "/apis/authentication.k8s.io/") && strings.HasSuffix(r.URL.Path, "/selfsubjectreviews")
}
