// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/serviceaccount"
	signer "k8s.io/kubernetes/pkg/serviceaccount/externaljwt/plugin/testing/v1"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/apiserver"
)

// claims returns claims of a token.
func claims(t testing.TB, token string) (c struct {
	Issuer    string `json:"iss"`
	Audiences any    `json:"aud"`
	Issued    int64  `json:"iat"`
	Expires   int64  `json:"exp"`
}) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("got a token of %d parts, want 3", len(parts))
	}
	if err := json.Unmarshal(decode(t, parts[1]), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func expiration(d time.Duration) authenticationv1.TokenRequestSpec {
	seconds := int64(d / time.Second)
	return authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}
}

// TestServiceAccountIssuers verifies that the first issuer issues and all are accepted.
func TestServiceAccountIssuers(t *testing.T) {
	const first, second = "https://first.example.com", "https://second.example.com"
	p := startPlane(t, func(c *apiserver.Config) {
		c.ServiceAccounts = apiserver.ServiceAccounts{
			Issuers: []string{first, second}, JWKSURI: "https://keys.example.com/jwks", MaxTokenExpiration: 2 * time.Hour,
		}
		c.Authentication.Audiences = []string{"kubembed", "api"}
	})
	ns := p.namespace(t)
	name := "system:serviceaccount:" + ns + ":robot"
	groups := []string{"system:authenticated", "system:serviceaccounts", "system:serviceaccounts:" + ns}
	token := account(t, p, ns, "robot", expiration(24*time.Hour))
	wantUser(t, p.bearer(token), name, groups...)
	c := claims(t, token)
	if c.Issuer != first || fmt.Sprint(c.Audiences) != "[kubembed api]" {
		t.Errorf("got a token of %s for %v, want %s and the audiences of the server", c.Issuer, c.Audiences, first)
	}
	if valid := time.Duration(c.Expires-c.Issued) * time.Second; valid != 2*time.Hour {
		t.Errorf("the token is valid for %s, want the 2h of MaxTokenExpiration", valid)
	}
	wantUser(t, p.bearer(account(t, p, ns, "robot", authenticationv1.TokenRequestSpec{Audiences: []string{"api"}})), name, groups...)
	wantNobody(t, p.bearer(account(t, p, ns, "robot", authenticationv1.TokenRequestSpec{Audiences: []string{first}})))

	robot := must(p.admin().CoreV1().ServiceAccounts(ns).Get(t.Context(), "robot", metav1.GetOptions{}))(t)
	of := func(issuer string) string {
		generator := must(serviceaccount.JWTTokenGenerator(issuer, p.pki.ServiceAccountKey()))(t)
		account := core.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "robot", UID: robot.UID}}
		public, private, err := serviceaccount.Claims(account, nil, nil, nil, nil, nil, 3600, 0, []string{"api"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return must(generator.GenerateToken(t.Context(), public, private))(t)
	}
	wantUser(t, p.bearer(of(second)), name, groups...)
	wantNobody(t, p.bearer(of("https://third.example.com")))

	var discovery struct{ Issuer, JWKSURI string }
	document := p.get(t, "/.well-known/openid-configuration").want(t, http.StatusOK).body
	if err := json.Unmarshal([]byte(strings.Replace(document, "jwks_uri", "JWKSURI", 1)), &discovery); err != nil {
		t.Fatal(err)
	}
	if discovery.Issuer != first || discovery.JWKSURI != "https://keys.example.com/jwks" {
		t.Errorf("got discovery %s", document)
	}
}

// TestExtendedExpiration: pods ask for tokens of 3607 seconds, which are valid for a year
// unless the host wants the short validity.
func TestExtendedExpiration(t *testing.T) {
	valid := func(p *plane) time.Duration {
		ns := p.namespace(t)
		account(t, p, ns, "robot", authenticationv1.TokenRequestSpec{})
		pod := pod("one")
		pod.Spec.ServiceAccountName = "robot"
		created := must(p.admin().CoreV1().Pods(ns).Create(t.Context(), pod, metav1.CreateOptions{}))(t)
		spec := expiration(serviceaccount.WarnOnlyBoundTokenExpirationSeconds * time.Second)
		spec.BoundObjectRef = &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: "one", UID: created.UID}
		c := claims(t, account(t, p, ns, "robot", spec))
		return time.Duration(c.Expires-c.Issued) * time.Second
	}
	if got, want := valid(sharedPlane(t)), serviceaccount.ExpirationExtensionSeconds*time.Second; got != want {
		t.Errorf("by default valid for %s, want %s", got, want)
	}
	p := startPlane(t, func(c *apiserver.Config) { c.ServiceAccounts.NoExtendedExpiration = true })
	if got, want := valid(p), serviceaccount.WarnOnlyBoundTokenExpirationSeconds*time.Second; got != want {
		t.Errorf("with NoExtendedExpiration valid for %s, want %s", got, want)
	}
}

// TestExternalSigner uses the signer of upstream's own tests, over its socket.
func TestExternalSigner(t *testing.T) {
	socket := filepath.Join(shortDir(t), "signer")
	external := signer.NewMockSigner(t, socket)
	external.MaxTokenExpirationSeconds = 3600
	p := startPlane(t, func(c *apiserver.Config) { c.ServiceAccounts.SigningEndpoint = socket })
	ns := p.namespace(t)
	name := "system:serviceaccount:" + ns + ":robot"
	groups := []string{"system:authenticated", "system:serviceaccounts", "system:serviceaccounts:" + ns}
	token := account(t, p, ns, "robot", expiration(24*time.Hour))
	wantUser(t, p.bearer(token), name, groups...)
	if c := claims(t, token); c.Expires-c.Issued != 3600 {
		t.Errorf("valid for %d seconds, want the 3600 of the signer", c.Expires-c.Issued)
	}
	jwks := p.get(t, "/openid/v1/jwks").want(t, http.StatusOK).body
	if !strings.Contains(jwks, `"kid-1"`) {
		t.Errorf("got keys %s, want those of the signer", jwks)
	}
	// The signer has new keys: tokens of the old ones are refused when it says so.
	if err := external.Reset(); err != nil {
		t.Fatal(err)
	}
	external.SigningKeyID = "kid-4"
	keys := external.GetSupportedKeys()
	keys["kid-4"] = keys["kid-1"]
	delete(keys, "kid-1")
	external.SetSupportedKeys(keys)
	wantUser(t, p.bearer(account(t, p, ns, "robot", authenticationv1.TokenRequestSpec{})), name, groups...)
	testwait.Until(t, "the token of the old key", func(context.Context) error {
		if user, err := whoAmI(t, p.bearer(token)); err == nil {
			return fmt.Errorf("authenticated as %q", user.Username)
		}
		return nil
	})
}

func TestBadExternalSigner(t *testing.T) {
	dir := shortDir(t)
	short := filepath.Join(dir, "short")
	signer.NewMockSigner(t, short).MaxTokenExpirationSeconds = 60
	hour := filepath.Join(dir, "hour")
	signer.NewMockSigner(t, hour).MaxTokenExpirationSeconds = 3600
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	closed := filepath.Join(dir, "closed")
	listener := must(net.ListenUnix("unix", &net.UnixAddr{Name: closed, Net: "unix"}))(t)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
			_ = conn.Close()
		}
	}()
	for _, c := range []struct {
		accounts apiserver.ServiceAccounts
		want     string
	}{
		{apiserver.ServiceAccounts{SigningEndpoint: filepath.Join(dir, "missing")}, "Config.ServiceAccounts.SigningEndpoint: stat " + dir + "/missing: no such file or directory: start the signer before the server"},
		{apiserver.ServiceAccounts{SigningEndpoint: plain}, "is not a socket"},
		{apiserver.ServiceAccounts{SigningEndpoint: closed}, "the signer does not work: its keys:"},
		{apiserver.ServiceAccounts{SigningEndpoint: short}, "the signer signs for 1m0s at most, want at least 600 seconds"},
		{apiserver.ServiceAccounts{SigningEndpoint: hour, MaxTokenExpiration: 2 * time.Hour}, "Config.ServiceAccounts.MaxTokenExpiration: 2h0m0s is more than the 1h0m0s for which the external signer signs"},
	} {
		p, err := newPlane(t.TempDir(), func(config *apiserver.Config) { config.ServiceAccounts = c.accounts })
		if !contains(err, c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
		if err == nil {
			t.Error(p.close())
		}
	}
}

// shortDir returns a directory whose name leaves room for that of a socket.
func shortDir(t testing.TB) string {
	t.Helper()
	dir := must(os.MkdirTemp("", "signer-"))(t)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
