// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/rest"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/pki"
)

// cookies authenticates by the session cookies of a host.
var cookies = authenticator.RequestFunc(func(r *http.Request) (*authenticator.Response, bool, error) {
	cookie, err := r.Cookie("session")
	if err != nil {
		return nil, false, nil
	}
	return &authenticator.Response{User: &user.DefaultInfo{Name: cookie.Value, Groups: []string{"sessions"}}}, true, nil
})

// everybody accepts each request as one user.
func everybody(name string) authenticator.Request {
	return authenticator.RequestFunc(func(*http.Request) (*authenticator.Response, bool, error) {
		return &authenticator.Response{User: &user.DefaultInfo{Name: name}}, true, nil
	})
}

// withHeader adds a header to the requests of a configuration.
func withHeader(c *rest.Config, name, value string) *rest.Config {
	c = rest.CopyConfig(c)
	c.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			r = r.Clone(r.Context())
			r.Header.Set(name, value)
			return next.RoundTrip(r)
		})
	})
	return c
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// network is a copy of ClientConfig that uses the listener.
func (p *plane) network() *rest.Config {
	c := p.ClientConfig()
	c.WrapTransport = nil
	return c
}

// TestHostAuthenticators verifies the order: the control plane's own clients, Before,
// the built-in ones, After, anonymous.
func TestHostAuthenticators(t *testing.T) {
	p := startPlane(t, func(c *apiserver.Config) {
		c.Authentication.Before = []authenticator.Request{cookies}
		c.Authentication.After = []authenticator.Request{everybody("somebody")}
	})
	jane := func(c *rest.Config) *rest.Config { return withHeader(c, "Cookie", "session=jane") }
	wantUser(t, jane(p.anonymous()), "jane", "sessions", "system:authenticated")
	wantUser(t, jane(p.as(t, "john")), "jane", "sessions", "system:authenticated")
	wantUser(t, p.as(t, "john"), "john", "system:authenticated")
	wantUser(t, p.bearer("unknown"), "somebody", "system:authenticated")
	wantUser(t, p.anonymous(), "somebody", "system:authenticated")
	robot := account(t, p, p.namespace(t), "robot", authenticationv1.TokenRequestSpec{})
	wantUser(t, jane(p.bearer(robot)), "jane", "sessions", "system:authenticated")
	if who := must(whoAmI(t, p.bearer(robot)))(t); !strings.HasSuffix(who.Username, ":robot") {
		t.Errorf("authenticated as %q, want the service account", who.Username)
	}
}

// TestHostAuthenticatesTokenReviews verifies that clients can have tokens of the host
// reviewed, for the audiences of the server and for no other.
func TestHostAuthenticatesTokenReviews(t *testing.T) {
	p := startPlane(t, func(c *apiserver.Config) {
		c.Authentication.Before = []authenticator.Request{authenticator.RequestFunc(func(r *http.Request) (*authenticator.Response, bool, error) {
			known := r.Header.Get("Authorization") == "Bearer of-jane" && r.URL.Path != "/elsewhere"
			return &authenticator.Response{User: &user.DefaultInfo{Name: "jane"}}, known, nil
		})}
		c.Authentication.Audiences = []string{"api", "vault"}
	})
	wantUser(t, p.bearer("of-jane"), "jane", "system:authenticated")
	for _, c := range []struct {
		token           string
		audiences, want []string
	}{
		{"of-jane", nil, []string{"api", "vault"}},
		{"of-jane", []string{"vault", "other"}, []string{"vault"}},
		{"of-jane", []string{"other"}, nil},
		{"of-john", nil, nil},
	} {
		review, err := p.admin().AuthenticationV1().TokenReviews().Create(t.Context(), &authenticationv1.TokenReview{
			Spec: authenticationv1.TokenReviewSpec{Token: c.token, Audiences: c.audiences},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Errorf("%+v: %v", c, err)
			continue
		}
		if s := review.Status; s.Authenticated != (c.want != nil) || !slices.Equal(s.Audiences, c.want) || s.Authenticated && s.User.Username != "jane" {
			t.Errorf("%+v: got %+v", c, s)
		}
	}
}

// TestOwnClientsComeBeforeTheHost verifies that no authenticator of the host takes over
// the clients of the control plane, and that none is asked about the certificate that the
// server sends to kubelets.
func TestOwnClientsComeBeforeTheHost(t *testing.T) {
	for name, host := range map[string]authenticator.Request{
		"accepts": everybody("mallory"),
		"fails": authenticator.RequestFunc(func(*http.Request) (*authenticator.Response, bool, error) {
			return nil, false, errors.New("no database")
		}),
		"panics": authenticator.RequestFunc(func(*http.Request) (*authenticator.Response, bool, error) { panic("no database") }),
	} {
		t.Run(name, func(t *testing.T) {
			p := startPlane(t, func(c *apiserver.Config) {
				c.Authentication.Before = []authenticator.Request{host}
				c.Authentication.After = []authenticator.Request{host}
			})
			wantUser(t, p.ClientConfig(), apiserver.AdminUser, "system:authenticated", "system:masters")
			wantUser(t, p.network(), apiserver.AdminUser, "system:authenticated", "system:masters")
			wantUser(t, p.as(t, "root", "system:masters"), "root", "system:authenticated", "system:masters")
			part := must(p.ClientConfigAs("part", "parts"))(t)
			wantUser(t, part, "part", "parts", "system:authenticated")
			part.WrapTransport = nil
			wantUser(t, part, "part", "parts", "system:authenticated")
			a := p.call(t, p.httpClient(t, p.pki.KubeletClient()), http.MethodGet, "/api", "")
			if a.status != http.StatusUnauthorized || strings.Contains(a.body, "panicked") {
				t.Errorf("the certificate for kubelets: got %d %s, want 401 without the host", a.status, a.body)
			}
		})
	}
}

// TestFaultyHostAuthenticator verifies that the answer names the authenticator.
func TestFaultyHostAuthenticator(t *testing.T) {
	release := make(chan struct{})
	var audited answered
	p := startPlane(t, func(c *apiserver.Config) {
		c.RequestTimeout = 2 * time.Second
		c.Audit.Policy = &auditv1.Policy{Rules: []auditv1.PolicyRule{{Level: auditv1.LevelRequestResponse}}}
		c.Audit.Sinks = []apiserver.AuditSink{{Name: "answers", Events: audited.Events, MaxBatchWait: time.Millisecond}}
		c.Authentication.Before = []authenticator.Request{authenticator.RequestFunc(func(r *http.Request) (*authenticator.Response, bool, error) {
			switch r.Header.Get("Cookie") {
			case "panic":
				panic("no session")
			case "block":
				<-release
			case "nobody":
				return nil, true, nil
			case "polite":
				<-r.Context().Done()
				return nil, false, context.Cause(r.Context())
			}
			return nil, false, nil
		})}
	})
	t.Cleanup(func() { close(release) }) // before the plane stops
	client := p.httpClient(t, pki.KeyPair{})
	const named = "Config.Authentication.Before[0] (authenticator.RequestFunc)"
	for cookie, want := range map[string]struct {
		status int
		text   string
	}{
		"panic":  {http.StatusInternalServerError, "the authenticator " + named + " panicked: the log of the server has the reason"},
		"nobody": {http.StatusInternalServerError, "the authenticator " + named + " accepted a request without the name of a user"},
		"block":  {http.StatusGatewayTimeout, "the authenticator " + named + " has not returned within"},
		"polite": {http.StatusGatewayTimeout, "the authenticator " + named + " has not returned within"},
		"":       {http.StatusUnauthorized, "Unauthorized"},
	} {
		for _, path := range []string{"/api/v1/namespaces", "/api/v1/namespaces?watch=true"} {
			a := p.call(t, client, http.MethodGet, path, "", "Cookie: "+cookie, "Accept: application/json")
			if a.status != want.status || !strings.Contains(a.body, want.text) || !strings.Contains(a.body, `"kind":"Status"`) {
				t.Errorf("%q, %s: got %d %s; want %d %q", cookie, path, a.status, a.body, want.status, want.text)
			}
			id := a.header.Get("Audit-Id")
			testwait.True(t, "the request is audited", func() bool { return audited.of(id) != nil })
			event := audited.of(id)
			status, object := event.ResponseStatus, string(event.ResponseObject.Raw)
			if int(status.Code) != want.status || !strings.Contains(status.Message, want.text) || !strings.Contains(object, want.text) || !strings.Contains(object, `"kind":"Status"`) {
				t.Errorf("%q, %s: audited as %+v with %s, want %d %q", cookie, path, status, object, want.status, want.text)
			}
		}
	}
	wantUser(t, p.ClientConfig(), apiserver.AdminUser, "system:authenticated", "system:masters")
}

// TestRevokedCertificateAndTheHost verifies that authenticators of the host that map
// client certificates themselves do not see revoked ones.
func TestRevokedCertificateAndTheHost(t *testing.T) {
	mapped := authenticator.RequestFunc(func(r *http.Request) (*authenticator.Response, bool, error) {
		if r.Header.Get("Cookie") != "" {
			return cookies(r)
		}
		if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
			return nil, false, nil
		}
		return &authenticator.Response{User: &user.DefaultInfo{Name: "host:" + r.TLS.PeerCertificates[0].Subject.CommonName}}, true, nil
	})
	p := startPlane(t, func(c *apiserver.Config) {
		c.Authentication.Before = []authenticator.Request{mapped}
		c.Authentication.After = []authenticator.Request{mapped}
	})
	pair := must(p.pki.IssueClient("jane", nil, 0))(t)
	wantUser(t, p.with(pair), "host:jane", "system:authenticated")
	p.revoke(t, pair)
	wantUser(t, withHeader(p.with(pair), "Cookie", "session=jane"), "jane", "sessions", "system:authenticated")
}

// answered is an audit sink that keeps events with answers by their audit IDs.
type answered struct{ byID sync.Map }

func (a *answered) Events(_ context.Context, events []auditv1.Event) error {
	for _, e := range events {
		if e.ResponseStatus != nil && e.ResponseObject != nil {
			a.byID.Store(string(e.AuditID), &e)
		}
	}
	return nil
}

func (a *answered) of(id string) *auditv1.Event {
	event, _ := a.byID.Load(id)
	found, _ := event.(*auditv1.Event)
	return found
}
