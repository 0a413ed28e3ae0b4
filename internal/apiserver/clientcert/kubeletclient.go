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

// refuseKubeletClient refuses requests with the certificate that API servers send to
// kubelets. With such a request a server calls itself, at an address that it does not
// know as its own, and a client of a node's proxy would get the permissions of
// kube-apiserver-kubelet-client. Kubelets only name that user in SubjectAccessReviews.
// The only allowed request is one for the user of the certificate, a SelfSubjectReview.
func refuseKubeletClient(r *http.Request, response *authenticator.Response) error {
	if response.User.GetName() == KubeletClientUser &&
		r.TLS != nil && len(r.TLS.PeerCertificates) > 0 && Identifies(response, r.TLS.PeerCertificates[0]) && !asksWhoItIs(r) {
		return errors.New("this certificate is only for requests to kubelets, and this is an API server")
	}
	return nil
}

func asksWhoItIs(r *http.Request) bool {
	return r.Method == http.MethodPost && strings.HasPrefix(r.URL.Path, "/apis/authentication.k8s.io/") && strings.HasSuffix(r.URL.Path, "/selfsubjectreviews")
}
