// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	signer "k8s.io/kubernetes/pkg/serviceaccount/externaljwt/plugin/testing/v1"

	"github.com/kubembed/kubembed/internal/oidctest"
	"github.com/kubembed/kubembed/pkg/apiserver"
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

// TestExternalSigner verifies that a whole control plane works with tokens of an external
// signer, and that it issues no others.
func TestExternalSigner(t *testing.T) {
	dir, err := os.MkdirTemp("", "signer-") // the name of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	external := signer.NewMockSigner(t, filepath.Join(dir, "signer"))
	server := start(t, controlplane.Config{ServiceAccounts: apiserver.ServiceAccounts{SigningEndpoint: filepath.Join(dir, "signer")}})
	client := admin(t, server)
	request, err := client.CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "default", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: request.Status.Token}}
	if review, err = client.AuthenticationV1().TokenReviews().Create(t.Context(), review, metav1.CreateOptions{}); err != nil || !review.Status.Authenticated {
		t.Errorf("got %+v, %v; want an accepted token", review, err)
	}
	header, _, _ := strings.Cut(request.Status.Token, ".")
	if decoded, err := base64.RawURLEncoding.DecodeString(header); err != nil || !strings.Contains(string(decoded), external.SigningKeyID) {
		t.Errorf("got a token with header %s, %v; want one of the signer", decoded, err)
	}
}
