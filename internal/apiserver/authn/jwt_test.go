// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package authn_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"

	"github.com/kubembed/kubembed/internal/apiserver/authn"
	"github.com/kubembed/kubembed/internal/lifecycle"
	"github.com/kubembed/kubembed/internal/oidctest"
	"github.com/kubembed/kubembed/internal/testwait"
)

func configuration(issuers ...*oidctest.Issuer) *apiserverv1.AuthenticationConfiguration {
	c := &apiserverv1.AuthenticationConfiguration{}
	for _, issuer := range issuers {
		c.JWT = append(c.JWT, apiserverv1.JWTAuthenticator{
			Issuer:        apiserverv1.Issuer{URL: issuer.URL(), CertificateAuthority: issuer.CA(), Audiences: []string{"kubembed"}},
			ClaimMappings: apiserverv1.ClaimMappings{Username: apiserverv1.PrefixedClaimOrExpression{Expression: "claims.sub"}},
		})
	}
	return c
}

// start returns an authenticator whose goroutines end with the test, and its log.
func start(t *testing.T, c *apiserverv1.AuthenticationConfiguration) (*authn.JWTs, *observer.ObservedLogs) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	converted, err := authn.FromGo(c)
	if err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zap.InfoLevel)
	jwts, err := authn.NewJWTs(ctx, authn.JWTOptions{ServiceAccountIssuers: []string{"https://own.example.com"}, Logger: zap.New(core)}, converted)
	if err != nil {
		t.Fatal(err)
	}
	return jwts, logs
}

func token(i *oidctest.Issuer) string {
	return i.Token(map[string]any{"sub": "jane", "aud": "kubembed"})
}

func wantAccepted(t *testing.T, jwts *authn.JWTs, token string) {
	t.Helper()
	testwait.Until(t, "the token is accepted", func(ctx context.Context) error {
		response, ok, err := jwts.AuthenticateToken(ctx, token)
		if err != nil || !ok {
			return fmt.Errorf("got %t, %w", ok, err)
		}
		if response.User.GetName() != "jane" {
			t.Errorf("got user %q, want jane", response.User.GetName())
		}
		return nil
	})
}

func wantRefused(t *testing.T, jwts *authn.JWTs, token string) {
	t.Helper()
	if response, ok, _ := jwts.AuthenticateToken(t.Context(), token); ok {
		t.Errorf("accepted as %q, want a refusal", response.User.GetName())
	}
}

func TestIssuersAreReplaced(t *testing.T) {
	first, second := oidctest.Start(t), oidctest.Start(t)
	jwts, _ := start(t, configuration(first))
	wantAccepted(t, jwts, token(first))
	wantRefused(t, jwts, token(second))
	if err := jwts.SetFromGo(t.Context(), configuration(second)); err != nil {
		t.Fatal(err)
	}
	wantAccepted(t, jwts, token(second))
	wantRefused(t, jwts, token(first))
}

// TestReplacementUnderLoad verifies that no token is refused while its issuer is in the
// old and in the new configuration.
func TestReplacementUnderLoad(t *testing.T) {
	first, second := oidctest.Start(t), oidctest.Start(t)
	jwts, _ := start(t, configuration(first))
	wantAccepted(t, jwts, token(first))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var asked atomic.Int64
	failures := make(chan error, 2)
	known := token(first)
	for range cap(failures) {
		go func() {
			for ctx.Err() == nil {
				if _, ok, err := jwts.AuthenticateToken(context.Background(), known); !ok {
					failures <- fmt.Errorf("refused: %w", err)
					return
				}
				asked.Add(1)
			}
			failures <- nil
		}()
	}
	for i := range 30 {
		c := configuration(first)
		if i%2 == 0 {
			c = configuration(first, second)
		}
		if i%3 > 0 { // a changed issuer is asked again
			c.JWT[0].Issuer.Audiences = append(c.JWT[0].Issuer.Audiences, fmt.Sprint(i))
			c.JWT[0].Issuer.AudienceMatchPolicy = apiserverv1.AudienceMatchPolicyMatchAny
		}
		if err := jwts.SetFromGo(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	for range cap(failures) {
		if err := <-failures; err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d tokens", asked.Load())
}

// TestReplacedIssuersFinishTheirRequests verifies that a request that waits for the keys
// of an issuer goes on when the issuer is replaced.
func TestReplacedIssuersFinishTheirRequests(t *testing.T) {
	first := oidctest.Start(t)
	jwts, _ := start(t, configuration(first))
	wantAccepted(t, jwts, token(first))
	first.Rotate()
	release, fetched := first.Hold(), first.Fetches()
	waiting := make(chan error, 1)
	go func() {
		_, ok, err := jwts.AuthenticateToken(context.Background(), token(first))
		if err == nil && !ok {
			err = errors.New("refused")
		}
		waiting <- err
	}()
	testwait.True(t, "the request waits for the keys", func() bool { return first.Fetches() > fetched })
	changed := configuration(first)
	changed.JWT[0].ClaimValidationRules = []apiserverv1.ClaimValidationRule{{Expression: "claims.sub == 'jane'"}}
	if err := jwts.SetFromGo(t.Context(), changed); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-waiting:
		t.Fatalf("the request has ended with the replacement: %v", err)
	default:
	}
	release()
	if err := <-waiting; err != nil {
		t.Error(err)
	}
	wantAccepted(t, jwts, token(first))
}

// TestIssuerThatStaysMayBeUnreachable verifies that an issuer that does not change is not
// asked again: others can be added while it is unreachable.
func TestIssuerThatStaysMayBeUnreachable(t *testing.T) {
	first, second := oidctest.Start(t), oidctest.Start(t)
	jwts, _ := start(t, configuration(first))
	wantAccepted(t, jwts, token(first))
	fetched := first.Fetches()
	first.Stop()
	for _, c := range []*apiserverv1.AuthenticationConfiguration{configuration(first, second), configuration(second, first), configuration(first)} {
		if err := jwts.SetFromGo(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		wantAccepted(t, jwts, token(first))
	}
	wantRefused(t, jwts, token(second))
	first.Start()
	if n := first.Fetches(); n != fetched {
		t.Errorf("the keys were read %d times, want %d", n, fetched)
	}
}

func TestBadReplacementsKeepTheIssuers(t *testing.T) {
	first, unreachable := oidctest.Start(t), oidctest.New(t)
	jwts, logs := start(t, configuration(first))
	duplicate := configuration(first, first)
	broken := configuration(first)
	broken.JWT[0].ClaimMappings.Username.Expression = "claims."
	own := configuration(first)
	own.JWT[0].Issuer.URL = "https://own.example.com"
	anonymous := configuration(first)
	anonymous.Anonymous = &apiserverv1.AnonymousAuthConfig{Enabled: true}
	for name, c := range map[string]struct {
		configuration *apiserverv1.AuthenticationConfiguration
		want          string
	}{
		"duplicate issuer":       {duplicate, "jwt[1].issuer.url: Duplicate value"},
		"CEL":                    {broken, "jwt[0].claimMappings.username.expression"},
		"service-account issuer": {own, "jwt[0].issuer.url: Invalid value: \"https://own.example.com\": URL must not overlap with the issuers of service-account tokens"},
		"anonymous":              {anonymous, "anonymous: Forbidden: cannot change while the server runs"},
	} {
		if err := jwts.SetFromGo(t.Context(), c.configuration); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() { failed <- jwts.SetFromGo(ctx, configuration(first, unreachable)) }()
	wantAccepted(t, jwts, token(first)) // meanwhile
	cancel()
	if err := <-failed; err == nil || !strings.Contains(err.Error(), "not all issuers have answered") {
		t.Errorf("unreachable issuer: got %v", err)
	}
	wantAccepted(t, jwts, token(first))
	if n := logs.FilterMessageSnippet("the earlier one stays in effect").Len(); n != 5 {
		t.Errorf("got %d messages, want 5: %v", n, logs.All())
	}
}

// TestReplacementDoesNotWaitForADeadIssuer: calls without a deadline end, and do not hold
// up later ones.
func TestReplacementDoesNotWaitForADeadIssuer(t *testing.T) {
	first, second, unreachable := oidctest.Start(t), oidctest.Start(t), oidctest.New(t)
	jwts, _ := start(t, configuration(first))
	failed := make(chan error, 1)
	go func() { failed <- jwts.SetFromGo(context.Background(), configuration(unreachable)) }()
	testwait.True(t, "the dead issuer is asked", func() bool { return jwts.Setting() })
	if err := jwts.SetFromGo(context.Background(), configuration(second)); err != nil {
		t.Errorf("after a change to a dead issuer: %v", err)
	}
	if err := <-failed; err == nil || !strings.Contains(err.Error(), "a later change of the configuration has taken the place of this one") {
		t.Errorf("the change to a dead issuer: got %v", err)
	}
	wantAccepted(t, jwts, token(second))
	jwts.SetTimeout = time.Millisecond
	if err := jwts.SetFromGo(context.Background(), configuration(unreachable)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a change to a dead issuer alone: got %v", err)
	}
	wantAccepted(t, jwts, token(second))
}

// TestBackgroundHasTheEndOfIssuers: a stop can wait for the goroutines of replaced
// issuers.
func TestBackgroundHasTheEndOfIssuers(t *testing.T) {
	first, second := oidctest.Start(t), oidctest.Start(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c, err := authn.FromGo(configuration(first))
	if err != nil {
		t.Fatal(err)
	}
	var background lifecycle.Group
	jwts, err := authn.NewJWTs(ctx, authn.JWTOptions{Logger: zap.NewNop(), Background: &background}, c)
	if err != nil {
		t.Fatal(err)
	}
	if err := jwts.SetFromGo(ctx, configuration(second)); err != nil {
		t.Fatal(err)
	}
	if begun, _ := background.Counts(); begun != 1 {
		t.Errorf("the group has %d goroutines of a replaced issuer, want 1", begun)
	}
	cancel()
	if err := background.Wait(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestIssuerThatIsUnreachableAtFirst(t *testing.T) {
	late := oidctest.New(t)
	jwts, _ := start(t, configuration(late))
	wantRefused(t, jwts, token(late))
	late.Start()
	wantAccepted(t, jwts, token(late))
}

func TestKeysAreRotated(t *testing.T) {
	issuer := oidctest.Start(t)
	jwts, _ := start(t, configuration(issuer))
	before := token(issuer)
	wantAccepted(t, jwts, before)
	issuer.Rotate()
	wantAccepted(t, jwts, token(issuer))
	wantAccepted(t, jwts, before)
	issuer.Stop()
	wantAccepted(t, jwts, token(issuer)) // its keys are known
	issuer.Rotate()
	wantRefused(t, jwts, token(issuer))
	issuer.Start()
	wantAccepted(t, jwts, token(issuer))
}

const fileFormat = `apiVersion: apiserver.config.k8s.io/%s
kind: AuthenticationConfiguration
jwt:
- issuer:
    url: %s
    audiences: [kubembed]
    certificateAuthority: %q
  claimMappings:
    username: {expression: claims.sub}
`

func TestFileIsFollowed(t *testing.T) {
	first, second := oidctest.Start(t), oidctest.Start(t)
	path := filepath.Join(t.TempDir(), "authentication.yaml")
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	content := func(i *oidctest.Issuer) string { return fmt.Sprintf(fileFormat, "v1", i.URL(), i.CA()) }
	write(content(first))
	c, read, err := authn.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	core, logs := observer.New(zap.InfoLevel)
	jwts, err := authn.NewJWTs(ctx, authn.JWTOptions{Logger: zap.New(core)}, c)
	if err != nil {
		t.Fatal(err)
	}
	watched := make(chan struct{})
	go func() { defer close(watched); jwts.Watch(path, read) }()
	defer func() { cancel(); <-watched }()
	wantAccepted(t, jwts, token(first))
	write(content(second))
	wantAccepted(t, jwts, token(second))
	bad := 0
	for _, broken := range []string{"", "]", fmt.Sprintf(fileFormat, "v9", first.URL(), first.CA()), strings.Replace(content(first), "jwt:", "jwts:", 1), strings.Replace(content(first), "https", "http", 1)} {
		write(broken)
		bad++
		testwait.True(t, "the file is refused", func() bool { return logs.FilterMessageSnippet("the earlier one stays in effect").Len() >= bad })
	}
	wantAccepted(t, jwts, token(second))
	write(content(first))
	wantAccepted(t, jwts, token(first))
}

func TestParseRefuses(t *testing.T) {
	for content, want := range map[string]string{
		" \n":                                 "the file is empty",
		"kind: AuthenticationConfiguration\n": "Object 'apiVersion' is missing",
		"apiVersion: apiserver.config.k8s.io/v9\nkind: AuthenticationConfiguration\n":                          "no kind \"AuthenticationConfiguration\" is registered for version \"apiserver.config.k8s.io/v9\"",
		"apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwts: []\n":                "unknown field \"jwts\"",
		"apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\nauthorizers: []\n":          "want kind AuthenticationConfiguration",
		"apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\nanonymous: {enabled: 1}\n": "anonymous.enabled",
	} {
		if _, err := authn.Parse([]byte(content)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", content, err, want)
		}
	}
}
