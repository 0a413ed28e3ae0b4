// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"slices"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// TestClientConfigAs: each configuration authenticates as its user.
func TestClientConfigAs(t *testing.T) {
	p := sharedPlane(t)
	for _, name := range []string{"system:one", "system:two"} {
		config, err := p.ClientConfigAs(name, "system:masters")
		if err != nil {
			t.Fatal(err)
		}
		review, err := kubernetes.NewForConfigOrDie(config).AuthenticationV1().SelfSubjectReviews().
			Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		who := review.Status.UserInfo
		if who.Username != name || !slices.Equal(who.Groups, []string{"system:authenticated", "system:masters"}) {
			t.Errorf("%s: got %+v, want this user in system:masters", name, who)
		}
	}
}

// TestCopyOfClientConfigAs: the certificate that is added to a copy determines its user,
// as with kube-apiserver. The token once did.
func TestCopyOfClientConfigAs(t *testing.T) {
	p := sharedPlane(t)
	config := must(p.ClientConfigAs("system:part", "system:masters"))(t)
	pair := must(p.pki.IssueClient("jane", nil, 0))(t)
	config.CertData, config.KeyData = pair.Cert, pair.Key
	review, err := clientset(t, config).AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil || review.Status.UserInfo.Username != "jane" {
		t.Errorf("%v, %v, want jane", review, err)
	}
}
