// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"

	"github.com/kubembed/kubembed/internal/oidctest"
	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/apiserver"
)

// TestAuthenticationReloadUnderLoad replaces the configuration file 200 times while 16
// clients log in, each time with a token that is not cached. No request may fail for it.
func TestAuthenticationReloadUnderLoad(t *testing.T) {
	first, second := oidctest.Start(t), oidctest.Start(t)
	item := func(issuer *oidctest.Issuer) string {
		return fmt.Sprintf("- issuer: {url: %s, audiences: [kubembed], certificateAuthority: %q}\n  claimMappings: {username: {claim: sub, prefix: \"\"}}\n", issuer.URL(), issuer.CA())
	}
	const head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n"
	files := []string{
		head + item(first),
		head + item(second) + item(first),
		"a bad file",
		head + item(first) + item(second),
	}
	path := writeFile(t, "authentication.yaml", files[0], 0o600)
	core, logs := observer.New(zap.InfoLevel)
	p := startPlane(t, func(c *apiserver.Config) {
		c.Logger = zap.New(core)
		c.Authentication.ConfigurationFile = path
		c.Authentication.Anonymous = &apiserverv1.AnonymousAuthConfig{}
	})
	untilUser(t, p.bearer(jwt(first)), "jane")
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	var requests atomic.Int64
	for range 16 {
		clients.Go(func() {
			for ctx.Err() == nil {
				user, err := whoAmI(t, p.bearer(jwt(first, "jti", fmt.Sprint(requests.Add(1)))))
				if err != nil || user.Username != "jane" {
					t.Errorf("got %q and %v, want jane", user.Username, err)
					return
				}
			}
		})
	}
	const replaced, refused = "the authentication configuration was reloaded", "the authentication configuration was not replaced"
	results := func() int {
		return logs.FilterMessage(replaced).Len() + logs.FilterMessageSnippet(refused).Len()
	}
	for i := 1; i <= 200; i++ {
		before := results()
		replaceFile(t, path, files[i%len(files)]+fmt.Sprintf("# %d\n", i), 0o600)
		testwait.Until(t, "the file is read", func(context.Context) error {
			if results() == before {
				return errors.New("not yet")
			}
			return nil
		})
	}
	cancel()
	clients.Wait()
	t.Logf("%d requests, %d reloads", requests.Load(), results())
	if requests.Load() == 0 {
		t.Error("the clients have sent nothing")
	}
	if got := logs.FilterMessageSnippet(refused).Len(); got != 50 {
		t.Errorf("got %d refusals, want 50: %v", got, logs.All())
	}
}
