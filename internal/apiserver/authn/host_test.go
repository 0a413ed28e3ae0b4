// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package authn_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/kubembed/kubembed/internal/apiserver/authn"
)

func host(f authenticator.RequestFunc) authn.Host {
	return authn.Host{Request: f, Name: "Before[0]", Timeout: time.Hour, Logger: zap.NewNop()}
}

func accept(name string) authenticator.RequestFunc {
	return func(*http.Request) (*authenticator.Response, bool, error) {
		return &authenticator.Response{User: &user.DefaultInfo{Name: name}}, true, nil
	}
}

func request(t *testing.T) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://example.com/api", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Cookie jane")
	return r
}

// TestHostRemovesCredentials verifies that the rest of the server does not see the
// credentials that an authenticator has removed from its copy of the request.
func TestHostRemovesCredentials(t *testing.T) {
	r := request(t)
	removes := func(r *http.Request) (*authenticator.Response, bool, error) {
		r.Header.Del("Authorization")
		return accept("jane")(r)
	}
	response, ok, err := authn.Hosts([]authn.Host{host(removes)}).AuthenticateRequest(r)
	if err != nil || !ok || response.User.GetName() != "jane" || !slices.Equal(response.User.GetGroups(), []string{user.AllAuthenticated}) {
		t.Fatalf("got %+v, %t, %v; want jane in system:authenticated", response, ok, err)
	}
	if r.Header.Get("Authorization") != "" {
		t.Error("the credentials are still in the request")
	}
}

func TestHostErrorIsNoDecision(t *testing.T) {
	fails := func(*http.Request) (*authenticator.Response, bool, error) { return nil, false, errors.New("no table") }
	response, ok, err := authn.Hosts([]authn.Host{host(fails), host(accept("jane"))}).AuthenticateRequest(request(t))
	if err != nil || !ok || response.User.GetName() != "jane" {
		t.Errorf("got %+v, %t, %v; want jane by the second authenticator", response, ok, err)
	}
	if _, ok, err = authn.Hosts([]authn.Host{host(fails)}).AuthenticateRequest(request(t)); ok || err == nil || !strings.Contains(err.Error(), "Before[0]: no table") {
		t.Errorf("got %t, %v; want the error with the name of the authenticator", ok, err)
	}
}

// TestFaultsOfTheHostEndTheRequest verifies that nobody decides about a request on which
// an authenticator has failed.
func TestFaultsOfTheHostEndTheRequest(t *testing.T) {
	blocked := make(chan struct{})
	t.Cleanup(func() { close(blocked) })
	for name, c := range map[string]struct {
		request authenticator.RequestFunc
		status  int
		want    string
	}{
		"panic":  {func(*http.Request) (*authenticator.Response, bool, error) { panic("no session") }, 500, "the authenticator Before[0] panicked: the log of the server has the reason"},
		"nobody": {func(*http.Request) (*authenticator.Response, bool, error) { return nil, true, nil }, 500, "without the name of a user"},
		"no name": {func(*http.Request) (*authenticator.Response, bool, error) {
			return &authenticator.Response{User: &user.DefaultInfo{}}, true, nil
		}, 500, "without the name of a user"},
		"block": {func(*http.Request) (*authenticator.Response, bool, error) { <-blocked; return nil, false, nil }, 504, "the authenticator Before[0] has not answered within"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			faulty := host(c.request)
			if name == "block" {
				faulty.Timeout = 20 * time.Millisecond
			}
			_, ok, err := authn.Union{faulty, host(accept("jane"))}.AuthenticateRequest(request(t).WithContext(ctx))
			var failure *authn.Failure
			if ok || !errors.As(err, &failure) || failure.Status != c.status || !strings.Contains(failure.Message, c.want) {
				t.Errorf("got %t, %v; want a failure with %d and %q", ok, err, c.status, c.want)
			}
		})
	}
}
