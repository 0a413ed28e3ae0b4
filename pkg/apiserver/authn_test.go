// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/pki"
)

const selfSubjectReviews = "/apis/authentication.k8s.io/v1/selfsubjectreviews"

// whoAmI returns the user that the server authenticates a client as.
func whoAmI(t testing.TB, c *rest.Config) (authenticationv1.UserInfo, error) {
	t.Helper()
	review, err := clientset(t, c).AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return authenticationv1.UserInfo{}, err
	}
	return review.Status.UserInfo, nil
}

func wantUser(t testing.TB, c *rest.Config, name string, groups ...string) {
	t.Helper()
	user, err := whoAmI(t, c)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(user.Groups)
	slices.Sort(groups)
	if user.Username != name || !slices.Equal(user.Groups, groups) {
		t.Errorf("authenticated as %q in %q, want %q in %q", user.Username, user.Groups, name, groups)
	}
}

func wantNobody(t testing.TB, c *rest.Config) {
	t.Helper()
	if user, err := whoAmI(t, c); !apierrors.IsUnauthorized(err) {
		t.Errorf("authenticated as %q, %v; want 401", user.Username, err)
	}
}

func TestClientConfigIsTheAdministrator(t *testing.T) {
	p := sharedPlane(t)
	wantUser(t, p.ClientConfig(), apiserver.AdminUser, "system:authenticated", "system:masters")
}

func TestClientCertificate(t *testing.T) {
	p := sharedPlane(t)
	wantUser(t, p.as(t, "jane", "dev", "ops"), "jane", "dev", "ops", "system:authenticated")
}

func TestCertificateOfAnotherCA(t *testing.T) {
	p := sharedPlane(t)
	other, err := pki.Open(pki.Config{})
	if err != nil {
		t.Fatal(err)
	}
	pair, err := other.IssueClient("jane", []string{"system:masters"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	p.call(t, p.httpClient(t, pair), http.MethodGet, "/api", "").want(t, http.StatusUnauthorized)
}

// TestCertificateThatExpires verifies that a certificate is refused after its expiry,
// also on a connection that was opened before.
func TestCertificateThatExpires(t *testing.T) {
	p := sharedPlane(t)
	pair, err := p.pki.IssueClient("jane", []string{"system:masters"}, 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	certs, err := cert.ParseCertsPEM(pair.Cert)
	if err != nil {
		t.Fatal(err)
	}
	client := p.httpClient(t, pair)
	expires := certs[0].NotAfter
	testwait.Until(t, "the certificate expires", func(context.Context) error {
		begin := time.Now()
		switch a := p.call(t, client, http.MethodGet, "/api", ""); {
		case a.status == http.StatusUnauthorized:
			return nil
		case begin.After(expires):
			t.Fatalf("got HTTP %d %s after the expiry, want 401", a.status, begin.Sub(expires))
		}
		return errors.New("still valid")
	})
	if time.Now().Before(expires) {
		t.Error("the certificate was refused before its expiry")
	}
}

// TestUnknownToken verifies that unknown tokens are refused, also in the form of the
// server's own.
func TestUnknownToken(t *testing.T) {
	p := sharedPlane(t)
	wantNobody(t, p.bearer("wrong"))
	wantNobody(t, p.bearer(strings.Repeat("0", 64)))
}

func TestFrontProxyNamesTheUser(t *testing.T) {
	p := sharedPlane(t)
	a := p.call(t, p.httpClient(t, p.pki.FrontProxyClient()), http.MethodPost, selfSubjectReviews,
		`{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}`,
		"X-Remote-User: jane", "X-Remote-Group: dev", "X-Remote-Uid: 42", "X-Remote-Extra-Scope: some").want(t, http.StatusCreated)
	var review authenticationv1.SelfSubjectReview
	if err := json.Unmarshal([]byte(a.body), &review); err != nil {
		t.Fatal(err)
	}
	user := review.Status.UserInfo
	if user.Username != "jane" || user.UID != "42" || !slices.Equal(user.Groups, []string{"dev", "system:authenticated"}) || !slices.Equal(user.Extra["scope"], []string{"some"}) {
		t.Errorf("got user %+v, want the one in the headers", user)
	}
}

func TestFrontProxyCertificateIsNoUser(t *testing.T) {
	p := sharedPlane(t)
	p.call(t, p.httpClient(t, p.pki.FrontProxyClient()), http.MethodGet, "/api", "").want(t, http.StatusUnauthorized)
}

// TestFrontProxyOfAnotherName verifies that of the front-proxy CA's certificates only the
// one with the proxy's name may set identity headers.
func TestFrontProxyOfAnotherName(t *testing.T) {
	p := sharedPlane(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := p.pki.FrontProxyCA().Sign(&x509.Certificate{
		Subject:     pkix.Name{CommonName: "somebody"},
		NotBefore:   time.Now().Add(-time.Minute),
		NotAfter:    time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	keyPEM, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		t.Fatal(err)
	}
	p.call(t, p.httpClient(t, pki.KeyPair{Cert: cert, Key: keyPEM}), http.MethodGet, "/api", "",
		"X-Remote-User: jane", "X-Remote-Group: system:masters").want(t, http.StatusUnauthorized)
}

func TestFrontProxyHeadersWithoutTheProxy(t *testing.T) {
	p := sharedPlane(t)
	headers := []string{"X-Remote-User: root", "X-Remote-Group: system:masters"}
	p.call(t, p.httpClient(t, pki.KeyPair{}), http.MethodGet, "/api", "", headers...).want(t, http.StatusUnauthorized)

	pair, err := p.pki.IssueClient("jane", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	a := p.call(t, p.httpClient(t, pair), http.MethodPost, selfSubjectReviews,
		`{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}`, headers...).want(t, http.StatusCreated)
	if !strings.Contains(a.body, `"username":"jane"`) || strings.Contains(a.body, "system:masters") {
		t.Errorf("the headers changed the user, want jane: %s", a.body)
	}
}

func TestAnonymous(t *testing.T) {
	p := sharedPlane(t)
	client := p.httpClient(t, pki.KeyPair{})
	for _, path := range []string{"/healthz", "/livez", "/readyz", "/version"} {
		if a := p.call(t, client, http.MethodGet, path, ""); a.status != http.StatusOK {
			t.Errorf("%s: got HTTP %d, want 200", path, a.status)
		}
	}
	for _, path := range []string{
		"/", "/api", "/api/v1", "/api/v1/pods", "/apis", "/apis/apps/v1", "/metrics", "/openapi/v2", "/openapi/v3",
		"/.well-known/openid-configuration", "/openid/v1/jwks", "/readyz/etcd", "/debug/pprof/", "/nowhere",
	} {
		if a := p.call(t, client, http.MethodGet, path, ""); a.status != http.StatusUnauthorized {
			t.Errorf("%s: got HTTP %d, want 401", path, a.status)
		}
	}
}

// account creates a service account and returns a token for it.
func account(t testing.TB, p *plane, namespace, name string, spec authenticationv1.TokenRequestSpec) string {
	t.Helper()
	accounts := p.admin().CoreV1().ServiceAccounts(namespace)
	_, err := accounts.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	return must(accounts.CreateToken(t.Context(), name, &authenticationv1.TokenRequest{Spec: spec}, metav1.CreateOptions{}))(t).Status.Token
}

func TestServiceAccountToken(t *testing.T) {
	p := sharedPlane(t)
	ns := p.namespace(t)
	token := account(t, p, ns, "robot", authenticationv1.TokenRequestSpec{})
	wantUser(t, p.bearer(token), "system:serviceaccount:"+ns+":robot",
		"system:authenticated", "system:serviceaccounts", "system:serviceaccounts:"+ns)

	// A token with one changed bit in its signature is refused.
	broken := []byte(token)
	broken[len(broken)-10] ^= 1
	wantNobody(t, p.bearer(string(broken)))
}

func TestServiceAccountTokenOfADeletedPod(t *testing.T) {
	p := sharedPlane(t)
	ns := p.namespace(t)
	client := p.admin().CoreV1()
	account(t, p, ns, "robot", authenticationv1.TokenRequestSpec{})
	token := func(name string) string {
		pod := pod(name)
		pod.Spec.ServiceAccountName = "robot"
		created := must(client.Pods(ns).Create(t.Context(), pod, metav1.CreateOptions{}))(t)
		return account(t, p, ns, "robot", authenticationv1.TokenRequestSpec{
			BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: name, UID: created.UID},
		})
	}
	alive, deleted := token("alive"), token("deleted")
	user, err := whoAmI(t, p.bearer(alive))
	if err != nil {
		t.Fatal(err)
	}
	if got := user.Extra["authentication.kubernetes.io/pod-name"]; !slices.Equal(got, []string{"alive"}) {
		t.Errorf("got pod %q in the token, want alive", got)
	}
	if err := client.Pods(ns).Delete(t.Context(), "deleted", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	// The authenticator's informer lags a moment, and answers are cached for ten seconds.
	testwait.Until(t, "the token of a deleted pod", func(context.Context) error {
		if user, err := whoAmI(t, p.bearer(deleted)); !apierrors.IsUnauthorized(err) {
			return fmt.Errorf("authenticated as %q, %v", user.Username, err)
		}
		return nil
	})
}

func TestServiceAccountTokenForAnotherAudience(t *testing.T) {
	p := sharedPlane(t)
	ns := p.namespace(t)
	token := account(t, p, ns, "robot", authenticationv1.TokenRequestSpec{Audiences: []string{"vault"}})
	wantNobody(t, p.bearer(token))

	review := func(audiences ...string) authenticationv1.TokenReviewStatus {
		return must(p.admin().AuthenticationV1().TokenReviews().Create(t.Context(), &authenticationv1.TokenReview{
			Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: audiences},
		}, metav1.CreateOptions{}))(t).Status
	}
	if s := review("vault", "other"); !s.Authenticated || !slices.Equal(s.Audiences, []string{"vault"}) || s.User.Username != "system:serviceaccount:"+ns+":robot" {
		t.Errorf("review for its audience: got %+v, want authenticated", s)
	}
	if s := review("other"); s.Authenticated {
		t.Errorf("review for another audience: got %+v, want not authenticated", s)
	}
	if s := review(); s.Authenticated {
		t.Errorf("review for the API server: got %+v, want not authenticated", s)
	}
}

// TestServiceAccountIssuerDiscovery verifies a token by the discovery documents only, as
// a third party does.
func TestServiceAccountIssuerDiscovery(t *testing.T) {
	p := sharedPlane(t)
	token := account(t, p, p.namespace(t), "robot", authenticationv1.TokenRequestSpec{})
	client, err := rest.HTTPClientFor(p.bearer(token)) // upstream's policy lets service accounts read the documents
	if err != nil {
		t.Fatal(err)
	}
	var configuration struct {
		Issuer        string   `json:"issuer"`
		JWKS          string   `json:"jwks_uri"`
		Algorithms    []string `json:"id_token_signing_alg_values_supported"`
		ResponseTypes []string `json:"response_types_supported"`
	}
	document := p.call(t, client, http.MethodGet, "/.well-known/openid-configuration", "").want(t, http.StatusOK)
	if err := json.Unmarshal([]byte(document.body), &configuration); err != nil {
		t.Fatal(err)
	}
	if configuration.Issuer != "https://kubernetes.default.svc.cluster.local" || !slices.Equal(configuration.Algorithms, []string{"ES256"}) {
		t.Errorf("got configuration %+v", configuration)
	}
	if !strings.HasSuffix(configuration.JWKS, "/openid/v1/jwks") {
		t.Errorf("got keys at %q, want /openid/v1/jwks", configuration.JWKS)
	}
	var keys struct {
		Keys []struct{ Kid, Kty, Crv, Alg, Use, X, Y string }
	}
	document = p.call(t, client, http.MethodGet, "/openid/v1/jwks", "").want(t, http.StatusOK)
	if err := json.Unmarshal([]byte(document.body), &keys); err != nil {
		t.Fatal(err)
	}
	if len(keys.Keys) != 1 || keys.Keys[0].Kty != "EC" || keys.Keys[0].Crv != "P-256" {
		t.Fatalf("got keys %+v, want one of P-256", keys.Keys)
	}
	point := slices.Concat([]byte{4}, decode(t, keys.Keys[0].X), decode(t, keys.Keys[0].Y)) // SEC 1, uncompressed
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		t.Fatal(err)
	}

	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("got a token of %d parts, want 3", len(parts))
	}
	var header struct{ Alg, Kid string }
	if err := json.Unmarshal(decode(t, parts[0]), &header); err != nil {
		t.Fatal(err)
	}
	if header.Alg != "ES256" || header.Kid != keys.Keys[0].Kid {
		t.Errorf("got token header %+v, want ES256 and key %q", header, keys.Keys[0].Kid)
	}
	signature := decode(t, parts[2])
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	half := len(signature) / 2
	if !ecdsa.Verify(public, digest[:], new(big.Int).SetBytes(signature[:half]), new(big.Int).SetBytes(signature[half:])) {
		t.Error("the published key does not verify the signature")
	}
}

// decode decodes the base64 of JSON web tokens.
func decode(t testing.TB, s string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestTokenReview(t *testing.T) {
	p := sharedPlane(t)
	ns := p.namespace(t)
	reviews := p.admin().AuthenticationV1().TokenReviews()
	for token, want := range map[string]bool{account(t, p, ns, "robot", authenticationv1.TokenRequestSpec{}): true, "nonsense": false} {
		review := must(reviews.Create(t.Context(), &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{}))(t)
		if review.Status.Authenticated != want {
			t.Errorf("review of %.10s…: got %+v, want authenticated %t", token, review.Status, want)
		}
	}
}

func TestImpersonation(t *testing.T) {
	p := sharedPlane(t)
	c := p.ClientConfig()
	c.Impersonate = rest.ImpersonationConfig{UserName: "jane", Groups: []string{"dev"}, Extra: map[string][]string{"scope": {"some"}}}
	wantUser(t, c, "jane", "dev", "system:authenticated")

	c = p.as(t, "john")
	c.Impersonate = rest.ImpersonationConfig{UserName: "jane"}
	if user, err := whoAmI(t, c); !apierrors.IsForbidden(err) {
		t.Errorf("john impersonates %q, %v; want 403", user.Username, err)
	}
}

// TestLowerCaseImpersonationHeader verifies that in-process requests, which no HTTP
// parser reads, cannot pass a header that filters do not recognize.
func TestLowerCaseImpersonationHeader(t *testing.T) {
	p := sharedPlane(t)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.URL()+selfSubjectReviews,
		strings.NewReader(`{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}`))
	if err != nil {
		t.Fatal(err)
	}
	request.Header["Content-Type"] = []string{"application/json"}
	request.Header["impersonate-user"] = []string{"jane"}
	response, err := p.inProcess(t).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var review authenticationv1.SelfSubjectReview
	if err := json.NewDecoder(response.Body).Decode(&review); err != nil {
		t.Fatal(err)
	}
	if review.Status.UserInfo.Username != "jane" {
		t.Errorf("got user %q, want jane", review.Status.UserInfo.Username)
	}
}
