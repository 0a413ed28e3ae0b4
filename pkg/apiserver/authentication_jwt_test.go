// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"testing"
	"time"

	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	"k8s.io/client-go/rest"

	"github.com/kubembed/kubembed/internal/apiserver/access"
	"github.com/kubembed/kubembed/internal/oidctest"
	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/pki"
)

// jwtConfiguration accepts the tokens of issuers. It maps claims by CEL.
func jwtConfiguration(issuers ...*oidctest.Issuer) *apiserverv1.AuthenticationConfiguration {
	c := &apiserverv1.AuthenticationConfiguration{}
	for i, issuer := range issuers {
		c.JWT = append(c.JWT, apiserverv1.JWTAuthenticator{
			Issuer: apiserverv1.Issuer{URL: issuer.URL(), CertificateAuthority: issuer.CA(), Audiences: []string{"kubembed"}},
			ClaimValidationRules: []apiserverv1.ClaimValidationRule{
				{Expression: "claims.exp - claims.iat <= 86400", Message: "valid for more than a day"},
			},
			ClaimMappings: apiserverv1.ClaimMappings{
				Username: apiserverv1.PrefixedClaimOrExpression{Expression: fmt.Sprintf("'issuer%d:' + claims.sub", i)},
				Groups:   apiserverv1.PrefixedClaimOrExpression{Expression: "claims.?roles.orValue([])"},
				UID:      apiserverv1.ClaimOrExpression{Claim: "uid"},
				Extra:    []apiserverv1.ExtraMapping{{Key: "example.com/team", ValueExpression: "claims.team"}},
			},
			UserValidationRules: []apiserverv1.UserValidationRule{
				{Expression: "!user.groups.exists(g, g.startsWith('system:'))", Message: "system groups are not the issuer's"},
			},
		})
	}
	return c
}

func jwt(issuer *oidctest.Issuer, claims ...any) string {
	all := map[string]any{"sub": "jane", "aud": "kubembed", "roles": []string{"dev", "ops"}, "uid": "42", "team": "blue"}
	for i := 0; i < len(claims); i += 2 {
		all[claims[i].(string)] = claims[i+1]
	}
	return issuer.Token(all)
}

// untilUser waits until a client is authenticated as a user.
func untilUser(t testing.TB, c *rest.Config, name string) {
	t.Helper()
	testwait.Until(t, "authenticated as "+name, func(context.Context) error {
		user, err := whoAmI(t, c)
		if err != nil {
			return err
		}
		if user.Username != name {
			return fmt.Errorf("authenticated as %q", user.Username)
		}
		return nil
	})
}

// TestJWTIssuers also verifies that a server starts while an issuer is not reachable, and
// that the issuers can be replaced.
func TestJWTIssuers(t *testing.T) {
	first, late, third := oidctest.Start(t), oidctest.New(t), oidctest.Start(t)
	configuration := jwtConfiguration(first, late)
	configuration.Anonymous = &apiserverv1.AnonymousAuthConfig{Enabled: true, Conditions: []apiserverv1.AnonymousAuthCondition{{Path: "/livez"}}}
	p := startPlane(t, func(c *apiserver.Config) { c.Authentication.Configuration = configuration })
	untilUser(t, p.bearer(jwt(first)), "issuer0:jane")
	wantUser(t, p.bearer(jwt(first)), "issuer0:jane", "dev", "ops", "system:authenticated")
	user := must(whoAmI(t, p.bearer(jwt(first))))(t)
	if user.UID != "42" || !slices.Equal(user.Extra["example.com/team"], []string{"blue"}) {
		t.Errorf("got %+v, want UID 42 of team blue", user)
	}
	wantNobody(t, p.bearer(jwt(first, "aud", "other")))
	wantNobody(t, p.bearer(jwt(first, "roles", []string{"system:masters"})))
	wantNobody(t, p.bearer(jwt(first, "iat", 1)))
	wantNobody(t, p.bearer(jwt(third)))
	wantNobody(t, p.bearer(jwt(late)))
	late.Start()
	untilUser(t, p.bearer(jwt(late)), "issuer1:jane")
	late.Rotate()
	untilUser(t, p.bearer(jwt(late)), "issuer1:jane")

	anonymous := p.httpClient(t, pki.KeyPair{})
	p.call(t, anonymous, http.MethodGet, "/livez", "").want(t, http.StatusOK)
	p.call(t, anonymous, http.MethodGet, "/readyz", "").want(t, http.StatusUnauthorized)

	if err := p.SetAuthentication(t.Context(), jwtConfiguration(third)); !contains(err, "anonymous: Forbidden: cannot change while the server runs") {
		t.Errorf("got %v, want a refusal", err)
	}
	replaced := jwtConfiguration(third)
	replaced.Anonymous = configuration.Anonymous
	if err := p.SetAuthentication(t.Context(), replaced); err != nil {
		t.Fatal(err)
	}
	wantUser(t, p.bearer(jwt(third)), "issuer0:jane", "dev", "ops", "system:authenticated")
	wantNobody(t, p.bearer(jwt(first, "uid", "43"))) // not the token that is cached
	if err := p.SetAuthentication(t.Context(), nil); !contains(err, "AuthenticationConfiguration: must not be nil") {
		t.Errorf("got %v, want a refusal", err)
	}
	if err := p.SetAuthentication(t.Context(), &apiserverv1.AuthenticationConfiguration{Anonymous: configuration.Anonymous}); err != nil {
		t.Fatal(err)
	}
	wantNobody(t, p.bearer(jwt(third, "uid", "43")))
	p.call(t, anonymous, http.MethodGet, "/livez", "").want(t, http.StatusOK)
	metrics := p.get(t, "/metrics").want(t, http.StatusOK).body
	for status, n := range map[string]string{"success": "2", "failure": "2"} {
		counter := regexp.MustCompile(`apiserver_authentication_config_controller_automatic_reloads_total\{apiserver_id_hash="[^"]*",status="` + status + `"\} ` + n + `\n`)
		if !counter.MatchString(metrics) {
			t.Errorf("no reload with status %s in the metrics", status)
		}
	}
}

func TestAuthenticationConfigurationFile(t *testing.T) {
	issuer := oidctest.Start(t)
	const format = `apiVersion: apiserver.config.k8s.io/v1beta1
kind: AuthenticationConfiguration
jwt:
- issuer: {url: %s, audiences: [kubembed], certificateAuthority: %q}
  claimMappings: {username: {claim: sub, prefix: "%s:"}}
`
	content := func(prefix string) string { return fmt.Sprintf(format, issuer.URL(), issuer.CA(), prefix) }
	path := writeFile(t, "file", content("before"), 0o600)
	p := startPlane(t, func(c *apiserver.Config) {
		c.Authentication.ConfigurationFile = path
		c.Authentication.Anonymous = &apiserverv1.AnonymousAuthConfig{} // the file has none
	})
	p.call(t, p.httpClient(t, pki.KeyPair{}), http.MethodGet, "/livez", "").want(t, http.StatusUnauthorized)
	untilUser(t, p.bearer(jwt(issuer)), "before:jane")
	if err := p.SetAuthentication(t.Context(), nil); !contains(err, "Config.Authentication.ConfigurationFile: it is set: change the file "+path) {
		t.Errorf("got %v, want a refusal", err)
	}
	if err := os.WriteFile(path, []byte(content("after")), 0o600); err != nil {
		t.Fatal(err)
	}
	serial := 0
	testwait.Until(t, "the file is reloaded", func(context.Context) error {
		serial++ // tokens are cached
		user, err := whoAmI(t, p.bearer(jwt(issuer, "jti", fmt.Sprint(serial))))
		if err == nil && user.Username != "after:jane" {
			err = fmt.Errorf("authenticated as %q", user.Username)
		}
		return err
	})
}

// TestAnonymousWithoutAuthorization verifies that a host cannot make everybody an
// administrator by accident. kube-apiserver's stand-in can, by a file.
func TestAnonymousWithoutAuthorization(t *testing.T) {
	everything := &apiserverv1.AnonymousAuthConfig{Enabled: true}
	all := apiserverv1.AuthorizerConfiguration{Type: "AlwaysAllow", Name: "alwaysallow"}
	file := writeFile(t, "file", "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\nanonymous: {enabled: true}\n", 0o600)
	mode := apiserver.Authorization{Modes: []string{"AlwaysAllow"}}
	for name, c := range map[string]struct {
		authentication apiserver.Authentication
		authorization  apiserver.Authorization
		want           string
	}{
		"mode":             {apiserver.Authentication{Anonymous: everything}, mode, "Authentication.Anonymous"},
		"chain":            {apiserver.Authentication{Anonymous: everything}, apiserver.Authorization{Configuration: chainOf(rbacType, all)}, "Authentication.Anonymous"},
		"file of chain":    {apiserver.Authentication{Anonymous: everything}, apiserver.Authorization{ConfigurationFile: writeFile(t, "file", chainFile(nodeItem, "- {type: AlwaysAllow, name: alwaysallow}\n"), 0o600)}, "Authentication.Anonymous"},
		"configuration":    {apiserver.Authentication{Configuration: &apiserverv1.AuthenticationConfiguration{Anonymous: everything}}, mode, "Authentication.Configuration"},
		"file":             {apiserver.Authentication{ConfigurationFile: file}, mode, "Authentication.ConfigurationFile"},
		"the default":      {apiserver.Authentication{}, mode, ""},
		"nobody":           {apiserver.Authentication{Anonymous: &apiserverv1.AnonymousAuthConfig{}}, mode, ""},
		"not all requests": {apiserver.Authentication{Anonymous: &apiserverv1.AnonymousAuthConfig{Enabled: true, Conditions: []apiserverv1.AnonymousAuthCondition{{Path: "/livez"}}}}, mode, ""},
	} {
		err := access.ValidateOptional(apiserver.Config{Authentication: c.authentication, Authorization: c.authorization}).ToAggregate()
		want := c.want + ": Forbidden: it accepts clients without credentials, which authorizer type AlwaysAllow of Authorization would make administrators"
		if c.want == "" && err != nil || c.want != "" && !contains(err, want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
	p := startPlane(t, func(c *apiserver.Config) {
		c.Authentication.Anonymous = everything
		c.Authorization.Modes = []string{"RBAC"}
	})
	anonymous := p.httpClient(t, pki.KeyPair{})
	p.call(t, anonymous, http.MethodGet, "/api/v1/namespaces", "").want(t, http.StatusForbidden)
	if err := p.SetAuthorization(t.Context(), chainOf(rbacType, all)); !contains(err, "Config.Authentication.Anonymous: it accepts clients without credentials") {
		t.Errorf("got %v, want a refusal", err)
	}
	p.call(t, anonymous, http.MethodGet, "/api/v1/namespaces", "").want(t, http.StatusForbidden)

	p = startPlane(t, func(c *apiserver.Config) {
		c.Authentication.ConfigurationFile, c.Authorization = file, mode
		access.SetLenient(c)
	})
	p.call(t, p.httpClient(t, pki.KeyPair{}), http.MethodGet, "/api/v1/namespaces", "").want(t, http.StatusOK)
}

// TestIssuerByDialer verifies that issuers with an egressSelectorType are asked through
// the dialers of the host, at the address that they have, and that Stop closes the
// connections.
func TestIssuerByDialer(t *testing.T) {
	for name, c := range map[string]struct {
		egress apiserverv1.EgressSelectorType
		set    func(*apiserver.Dialers, apiserver.DialFunc)
	}{
		"ControlPlane": {apiserverv1.EgressSelectorControlPlane, func(d *apiserver.Dialers, dial apiserver.DialFunc) { d.ControlPlane = dial }},
		"Nodes":        {apiserverv1.EgressSelectorCluster, func(d *apiserver.Dialers, dial apiserver.DialFunc) { d.Nodes = dial }},
	} {
		t.Run(name, func(t *testing.T) {
			issuer := oidctest.Start(t)
			configuration := jwtConfiguration(issuer)
			configuration.JWT[0].Issuer.EgressSelectorType = c.egress
			if p, err := newPlane(t.TempDir(), func(c *apiserver.Config) { c.Authentication.Configuration = configuration }); !contains(err, "Config.Dialers."+name+" is not set") {
				t.Errorf("without a dialer: got %v", err)
				if err == nil {
					t.Error(p.close())
				}
			}
			dialer := tunnel{}
			address := addressOf(t, issuer.URL())
			dialer.add(address.String(), address)
			p, err := newPlane(t.TempDir(), func(cfg *apiserver.Config) {
				cfg.Authentication.Configuration = configuration
				c.set(&cfg.Dialers, dialer.dial)
			})
			if err != nil {
				t.Fatal(err)
			}
			untilUser(t, p.bearer(jwt(issuer)), "issuer0:jane")
			if err := p.close(); err != nil {
				t.Error(err)
			}
			if len(dialer.made()) == 0 {
				t.Error("the dialer was not used")
			}
			for _, conn := range dialer.made() {
				if err := conn.SetDeadline(time.Now()); !errors.Is(err, net.ErrClosed) {
					t.Errorf("after Stop a connection is open: %v", err)
				}
			}
		})
	}
}
