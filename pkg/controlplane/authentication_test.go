// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kubembed/kubembed/internal/oidctest"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

func TestSetAuthentication(t *testing.T) {
	issuer := oidctest.Start(t)
	server := start(t, controlplane.Config{})
	configuration := &apiserverv1.AuthenticationConfiguration{JWT: []apiserverv1.JWTAuthenticator{{
		Issuer:        apiserverv1.Issuer{URL: issuer.URL(), CertificateAuthority: issuer.CA(), Audiences: []string{"kubembed"}},
		ClaimMappings: apiserverv1.ClaimMappings{Username: apiserverv1.PrefixedClaimOrExpression{Expression: "claims.sub"}},
	}}}
	if err := server.SetAuthentication(t.Context(), configuration); err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(&rest.Config{
		Host: server.URL(), TLSClientConfig: rest.TLSClientConfig{CAData: server.ClientConfig().CAData},
		BearerToken: issuer.Token(map[string]any{"sub": "jane", "aud": "kubembed"}),
	})
	if err != nil {
		t.Fatal(err)
	}
	review, err := client.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil || review.Status.UserInfo.Username != "jane" {
		t.Errorf("got %+v, %v; want jane", review, err)
	}
}
