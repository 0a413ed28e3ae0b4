// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/kubembed/kubembed/internal/apiserver/access"
	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/pki"
)

// authority is a CA with its certificate in PEM.
type authority struct {
	parsed *x509.Certificate
	key    *ecdsa.PrivateKey
	cert   []byte
}

// newAuthority returns a CA that another one has signed, or its own root.
func newAuthority(t testing.TB, by *authority) *authority {
	t.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca " + rand.Text()}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	if by == nil {
		by = &authority{parsed: template, key: key}
	}
	der := must(x509.CreateCertificate(rand.Reader, template, by.parsed, key.Public(), by.key))(t)
	return &authority{must(x509.ParseCertificate(der))(t), key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

func TestBadAuthentication(t *testing.T) {
	identities := must(pki.Open(pki.Config{}))(t)
	old := must(pki.Open(pki.Config{Clock: clocktesting.NewFakeClock(time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC))}))(t)
	client := must(identities.IssueClient("jane", nil, 0))(t)
	jwt := func(url string) apiserverv1.JWTAuthenticator {
		return apiserverv1.JWTAuthenticator{
			Issuer:        apiserverv1.Issuer{URL: url, Audiences: []string{"kubembed"}},
			ClaimMappings: apiserverv1.ClaimMappings{Username: apiserverv1.PrefixedClaimOrExpression{Expression: "claims.sub"}},
		}
	}
	configuration := func(issuers ...string) *apiserverv1.AuthenticationConfiguration {
		c := &apiserverv1.AuthenticationConfiguration{}
		for _, issuer := range issuers {
			c.JWT = append(c.JWT, jwt(issuer))
		}
		return c
	}
	const kubeconfig = `apiVersion: v1
kind: Config
current-context: webhook
contexts: [{name: webhook, context: {cluster: webhook, user: webhook}}]
clusters: [{name: webhook, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: webhook, user: {token: secret}}]
`
	const bad = "apiVersion: apiserver.config.k8s.io/v9\nkind: AuthenticationConfiguration\n"
	const anonymous = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\nanonymous: {enabled: true}\n"
	root := newAuthority(t, nil)
	signed := newAuthority(t, root)
	below := newAuthority(t, signed) // clients may send the CA between it and root
	for name, good := range map[string]apiserver.Authentication{
		"the root has clients": {ClientCAs: root.cert, RequestHeader: apiserver.RequestHeader{CAs: signed.cert}},
		"a name":               {ClientCAs: signed.cert, RequestHeader: apiserver.RequestHeader{CAs: root.cert, AllowedNames: []string{"proxy"}}},
		"another root":         {ClientCAs: newAuthority(t, nil).cert, RequestHeader: apiserver.RequestHeader{CAs: root.cert}},
	} {
		if err := access.ValidateOptional(apiserver.Config{Authentication: good}).ToAggregate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	missing := filepath.Join(t.TempDir(), "missing")
	insecure := writeFile(t, "insecure", strings.Replace(anonymous, "anonymous: {enabled: true}",
		"jwt: [{issuer: {url: 'http://login.example.com', audiences: [a]}, claimMappings: {username: {claim: sub, prefix: ''}}}]", 1), 0o600)
	for _, c := range []struct {
		a    apiserver.Authentication
		want string
	}{
		{apiserver.Authentication{Configuration: configuration("http://example.com")}, "Authentication.Configuration.jwt[0].issuer.url: Invalid value"},
		{apiserver.Authentication{Configuration: configuration("https://a.example.com", "https://a.example.com")}, "Authentication.Configuration.jwt[1].issuer.url: Duplicate value"},
		{apiserver.Authentication{Configuration: configuration("https://kubernetes.default.svc.cluster.local")}, "must not overlap with the issuers of service-account tokens"},
		{apiserver.Authentication{Configuration: configuration(), ConfigurationFile: missing}, "Authentication.ConfigurationFile: Forbidden: Authentication.Configuration is set too"},
		{apiserver.Authentication{ConfigurationFile: insecure}, fmt.Sprintf("Authentication.ConfigurationFile: Invalid value: %q: jwt[0].issuer.url: Invalid value: \"http://login.example.com\": URL scheme must be https", insecure)},
		{apiserver.Authentication{ConfigurationFile: missing}, "Authentication.ConfigurationFile: Invalid value"},
		{apiserver.Authentication{ConfigurationFile: writeFile(t, "file", bad, 0o600)}, "no kind \"AuthenticationConfiguration\" is registered for version"},
		{apiserver.Authentication{ConfigurationFile: writeFile(t, "file", strings.Replace(bad, "v9", "v1", 1), 0o666)}, "lets group or others write"},
		{apiserver.Authentication{SigningAlgorithms: []string{"HS256"}}, "Authentication.SigningAlgorithms[0]: Unsupported value: \"HS256\""},
		{apiserver.Authentication{Anonymous: &apiserverv1.AnonymousAuthConfig{Conditions: []apiserverv1.AnonymousAuthCondition{{Path: "/"}}}}, "Authentication.Anonymous.Conditions"},
		{apiserver.Authentication{Webhook: apiserver.TokenWebhook{Version: "v1"}}, "Authentication.Webhook.KubeconfigFile: Required"},
		{apiserver.Authentication{Webhook: apiserver.TokenWebhook{KubeconfigFile: missing}}, "no such file"},
		{apiserver.Authentication{Webhook: apiserver.TokenWebhook{KubeconfigFile: writeFile(t, "file", kubeconfig, 0o644)}}, "mode is 0644: chmod o-r"},
		{apiserver.Authentication{Webhook: apiserver.TokenWebhook{KubeconfigFile: writeFile(t, "file", strings.Replace(kubeconfig, "token: secret", "tokenFile: "+writeFile(t, "file", "secret", 0o644), 1), 0o644)}}, "mode is 0644"},
		{apiserver.Authentication{Webhook: apiserver.TokenWebhook{KubeconfigFile: writeFile(t, "file", strings.Replace(kubeconfig, "current-context: webhook", "", 1), 0o600)}}, "set current-context"},
		{apiserver.Authentication{Webhook: apiserver.TokenWebhook{KubeconfigFile: writeFile(t, "file", kubeconfig, 0o600), Version: "v2", CacheTTL: -1}}, "Authentication.Webhook.Version: Unsupported value"},
		{apiserver.Authentication{Tokens: []apiserver.StaticToken{{Token: "secret", User: user.DefaultInfo{Name: "jane"}}, {Token: "secret"}}}, "Authentication.Tokens[1].User.Name: Required"},
		{apiserver.Authentication{Tokens: []apiserver.StaticToken{{Token: "sec ret", User: user.DefaultInfo{Name: "jane"}}}}, "Authentication.Tokens[0].Token: Invalid value"},
		{apiserver.Authentication{TokenFile: missing}, "no such file"},
		{apiserver.Authentication{TokenFile: writeFile(t, "file", "secret,jane", 0o600)}, "must have at least 3 columns"},
		{apiserver.Authentication{TokenFile: writeFile(t, "file", "secret,jane,1", 0o604)}, "mode is 0604"},
		{apiserver.Authentication{ClientCAs: []byte("PEM")}, "Authentication.ClientCAs: Invalid value"},
		{apiserver.Authentication{ClientCAs: old.CABundle()}, "expired at 2010-"},
		{apiserver.Authentication{ClientCAs: client.Cert}, "certificate 0 (CN=jane) is not a CA"},
		{apiserver.Authentication{RequestHeader: apiserver.RequestHeader{AllowedNames: []string{"proxy"}}}, "Authentication.RequestHeader.CAs: Required"},
		{apiserver.Authentication{RequestHeader: apiserver.RequestHeader{CAs: identities.CABundle(), UsernameHeaders: []string{"User Name"}}}, "Authentication.RequestHeader.UsernameHeaders[0]: Invalid value"},
		{apiserver.Authentication{ClientCAs: identities.CABundle(), RequestHeader: apiserver.RequestHeader{CAs: identities.CABundle()}}, "Authentication.RequestHeader.AllowedNames: Required"},
		{apiserver.Authentication{ClientCAs: signed.cert, RequestHeader: apiserver.RequestHeader{CAs: root.cert}}, "Authentication.RequestHeader.AllowedNames: Required value: Authentication.ClientCAs has one of these CAs, or a CA that is not self-signed"},
		{apiserver.Authentication{ClientCAs: below.cert, RequestHeader: apiserver.RequestHeader{CAs: root.cert}}, "Authentication.RequestHeader.AllowedNames: Required value"},
		{apiserver.Authentication{Anonymous: &apiserverv1.AnonymousAuthConfig{}, Configuration: &apiserverv1.AuthenticationConfiguration{Anonymous: &apiserverv1.AnonymousAuthConfig{}}}, "Authentication.Anonymous: Forbidden: Authentication.Configuration has anonymous too"},
		{apiserver.Authentication{Anonymous: &apiserverv1.AnonymousAuthConfig{}, ConfigurationFile: writeFile(t, "file", anonymous, 0o600)}, "Authentication.Anonymous: Forbidden: Authentication.ConfigurationFile has anonymous too"},
		{apiserver.Authentication{Audiences: []string{""}}, "Authentication.Audiences[0]: Required"},
		{apiserver.Authentication{Before: []authenticator.Request{nil}}, "Authentication.Before[0]: Required"},
		{apiserver.Authentication{After: []authenticator.Request{authenticator.RequestFunc(nil)}}, "Authentication.After[0]: Required"},
	} {
		err := access.ValidateOptional(apiserver.Config{Authentication: c.a}).ToAggregate()
		if !contains(err, c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
		if contains(err, "secret\"") || contains(err, "sec ret") {
			t.Errorf("the error has a token: %v", err)
		}
	}
}

// TestPrivateDirectory: others cannot read a file in a directory that they cannot enter.
func TestPrivateDirectory(t *testing.T) {
	path := writeFile(t, "file", "secret,jane,1", 0o644)
	a := apiserver.Config{Authentication: apiserver.Authentication{TokenFile: path}}
	if err := access.ValidateOptional(a).ToAggregate(); !contains(err, "chmod o-r") {
		t.Errorf("got %v, want a refusal", err)
	}
	if err := os.Chmod(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := access.ValidateOptional(a).ToAggregate(); err != nil {
		t.Errorf("in a private directory: got %v", err)
	}
}

// TestCloneOfAuthentication verifies that a clone has nothing in common with the
// original.
func TestCloneOfAuthentication(t *testing.T) {
	original := apiserver.Authentication{
		Configuration: &apiserverv1.AuthenticationConfiguration{JWT: []apiserverv1.JWTAuthenticator{{}}},
		Tokens:        []apiserver.StaticToken{{User: user.DefaultInfo{Groups: []string{"a"}, Extra: map[string][]string{"k": {"a"}}}}},
		RequestHeader: apiserver.RequestHeader{AllowedNames: []string{"a"}},
		Audiences:     []string{"a"},
	}
	clone := original.Clone()
	original.Configuration.JWT[0].Issuer.URL = "b"
	original.Tokens[0].User.Groups[0] = "b"
	original.Tokens[0].User.Extra["k"][0] = "b"
	original.RequestHeader.AllowedNames[0] = "b"
	original.Audiences[0] = "b"
	info := clone.Tokens[0].User
	if got := []string{clone.Configuration.JWT[0].Issuer.URL, info.Groups[0], info.Extra["k"][0], clone.RequestHeader.AllowedNames[0], clone.Audiences[0]}; slices.Contains(got, "b") {
		t.Errorf("got %q, want a clone without the changes", got)
	}
}

func TestBadServiceAccounts(t *testing.T) {
	for _, c := range []struct {
		s    apiserver.ServiceAccounts
		want string
	}{
		{apiserver.ServiceAccounts{Issuers: []string{"https://a.example.com", ""}}, "ServiceAccounts.Issuers[1]: Required"},
		{apiserver.ServiceAccounts{Issuers: []string{"https://a.example.com", "https://a.example.com"}}, "ServiceAccounts.Issuers[1]: Duplicate"},
		{apiserver.ServiceAccounts{Issuers: []string{"https://a b:c"}}, "ServiceAccounts.Issuers[0]: Invalid value"},
		{apiserver.ServiceAccounts{JWKSURI: "http://example.com/keys"}, "ServiceAccounts.JWKSURI: Invalid value"},
		{apiserver.ServiceAccounts{Issuers: []string{"api", "https://a.example.com"}, JWKSURI: "https://example.com/keys"}, "ServiceAccounts.JWKSURI: Forbidden: it has no effect: there is no discovery document, because "},
		{apiserver.ServiceAccounts{MaxTokenExpiration: time.Minute}, "ServiceAccounts.MaxTokenExpiration: Invalid value"},
		{apiserver.ServiceAccounts{SigningEndpoint: "@"}, "ServiceAccounts.SigningEndpoint: Invalid value"},
	} {
		if err := access.ValidateOptional(apiserver.Config{ServiceAccounts: c.s}).ToAggregate(); !contains(err, c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
	if errs := access.ValidateOptional(apiserver.Config{
		ServiceAccounts: apiserver.ServiceAccounts{Issuers: []string{"https://a.example.com"}},
		Authentication: apiserver.Authentication{Configuration: &apiserverv1.AuthenticationConfiguration{JWT: []apiserverv1.JWTAuthenticator{{
			Issuer:        apiserverv1.Issuer{URL: "https://a.example.com", Audiences: []string{"kubembed"}},
			ClaimMappings: apiserverv1.ClaimMappings{Username: apiserverv1.PrefixedClaimOrExpression{Expression: "claims.sub"}},
		}}}},
	}); len(errs) != 1 || errs[0].Field != "Authentication.Configuration.jwt[0].issuer.url" {
		t.Errorf("an issuer of both: got %v", errs)
	}
}
