// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"

	"github.com/kubembed/kubembed/internal/oidctest"
	"github.com/kubembed/kubembed/pkg/apiserver"
)

// TestAuthenticationReloadUnderLoad replaces the configuration file 200 times while 16
// clients log in, each time with a token that is not cached. No request may fail for it.
// Each good file changes the issuer of the tokens, so that its authenticator is replaced
// while it is in use.
func TestAuthenticationReloadUnderLoad(t *testing.T) {
	first, second := oidctest.Start(t), oidctest.Start(t)
	item := func(issuer *oidctest.Issuer, rule string) string {
		return fmt.Sprintf("- issuer: {url: %s, audiences: [kubembed], certificateAuthority: %q}\n  claimMappings: {username: {claim: sub, prefix: \"\"}}\n  claimValidationRules: [{expression: %q}]\n", issuer.URL(), issuer.CA(), rule)
	}
	const head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n"
	files := []string{
		head + item(first, "true"),
		head + item(second, "true") + item(first, "claims.sub == 'jane'"),
		"a bad file",
		head + item(first, "claims.sub != 'john'") + item(second, "true"),
	}
	path := writeFile(t, "authentication.yaml", files[0], 0o600)
	core, logs := observer.New(zap.InfoLevel)
	p := startPlane(t, func(c *apiserver.Config) {
		c.Logger = zap.New(core)
		c.Authentication.ConfigurationFile = path
		c.Authentication.Anonymous = &apiserverv1.AnonymousAuthConfig{}
	})
	untilUser(t, p.bearer(jwt(first)), "jane")
	var serial atomic.Int64
	replaceUnderLoad(t, path, files, logs, "the authentication configuration was replaced", "the authentication configuration was not replaced", func(int) func(context.Context) error {
		return func(context.Context) error {
			user, err := whoAmI(t, p.bearer(jwt(first, "jti", fmt.Sprint(serial.Add(1)))))
			if err == nil && user.Username != "jane" {
				err = fmt.Errorf("authenticated as %q, want jane", user.Username)
			}
			return err
		}
	})
}
