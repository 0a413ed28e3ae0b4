// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package authn_test

import (
	"context"
	"errors"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/kubembed/kubembed/internal/apiserver/authn"
	"github.com/kubembed/kubembed/internal/hostcall"
)

func host(f authenticator.RequestFunc) *authn.Host {
	return &authn.Host{Request: f, Name: "Before[0]", Timeout: time.Hour, Logger: zap.NewNop()}
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
	response, ok, err := authn.Hosts([]*authn.Host{host(removes)}).AuthenticateRequest(r)
	if err != nil || !ok || response.User.GetName() != "jane" || !slices.Equal(response.User.GetGroups(), []string{user.AllAuthenticated}) {
		t.Fatalf("got %+v, %t, %v; want jane in system:authenticated", response, ok, err)
	}
	if r.Header.Get("Authorization") != "" {
		t.Error("the credentials are still in the request")
	}
}

func TestHostErrorIsNoDecision(t *testing.T) {
	fails := func(*http.Request) (*authenticator.Response, bool, error) { return nil, false, errors.New("no table") }
	response, ok, err := authn.Hosts([]*authn.Host{host(fails), host(accept("jane"))}).AuthenticateRequest(request(t))
	if err != nil || !ok || response.User.GetName() != "jane" {
		t.Errorf("got %+v, %t, %v; want jane by the second authenticator", response, ok, err)
	}
	if _, ok, err = authn.Hosts([]*authn.Host{host(fails)}).AuthenticateRequest(request(t)); ok || err == nil || !strings.Contains(err.Error(), "Before[0]: no table") {
		t.Errorf("got %t, %v; want the error with the name of the authenticator", ok, err)
	}
}

type faultyUser struct{ user.Info }

func (faultyUser) GetExtra() map[string][]string { panic("no table") }

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
		"nil user": {func(*http.Request) (*authenticator.Response, bool, error) {
			return &authenticator.Response{User: (*user.DefaultInfo)(nil)}, true, nil
		}, 500, "without the name of a user"},
		"panicking user": {func(*http.Request) (*authenticator.Response, bool, error) {
			return &authenticator.Response{User: faultyUser{&user.DefaultInfo{Name: "jane"}}}, true, nil
		}, 500, "the authenticator Before[0] panicked"},
		"no goroutine": {func(*http.Request) (*authenticator.Response, bool, error) { runtime.Goexit(); return nil, false, nil }, 500, "the authenticator Before[0] ended its goroutine"},
		"block":        {func(*http.Request) (*authenticator.Response, bool, error) { <-blocked; return nil, false, nil }, 504, "the authenticator Before[0] has not returned within"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			faulty := host(c.request)
			if name == "block" {
				faulty.Timeout = 20 * time.Millisecond
			}
			_, ok, err := authn.Union{faulty, host(accept("jane"))}.AuthenticateRequest(request(t).WithContext(ctx))
			var failure *hostcall.Failure
			if ok || !errors.As(err, &failure) || failure.Code != c.status || !strings.Contains(failure.Message, c.want) {
				t.Errorf("got %t, %v; want a failure with %d and %q", ok, err, c.status, c.want)
			}
		})
	}
}

// TestHostKeepsTheHeadersOfOthers verifies that an authenticator that does not accept a
// request takes no credentials from it, and one that does takes them from all copies.
func TestHostKeepsTheHeadersOfOthers(t *testing.T) {
	for name, answer := range map[string]authenticator.RequestFunc{
		"declines": func(*http.Request) (*authenticator.Response, bool, error) { return nil, false, nil },
		"fails":    func(*http.Request) (*authenticator.Response, bool, error) { return nil, false, errors.New("no table") },
		"panics":   func(*http.Request) (*authenticator.Response, bool, error) { panic("no session") },
		"accepts":  accept("jane"),
	} {
		t.Run(name, func(t *testing.T) {
			r := request(t)
			r.Header.Set("Cookie", "a=1; session=x")
			other := *r // shares the headers, as the copy for clients with two credentials
			_, ok, _ := host(func(r *http.Request) (*authenticator.Response, bool, error) {
				r.Header.Del("Authorization")
				r.Header.Set("Cookie", "a=1")
				return answer(r)
			}).AuthenticateRequest(&other)
			if ok != (name == "accepts") {
				t.Fatalf("got %t", ok)
			}
			if has := r.Header.Get("Authorization") != ""; has == ok {
				t.Errorf("the request has the credentials: %t", has)
			}
			if got := r.Header.Get("Cookie"); (got == "a=1") != ok {
				t.Errorf("got cookies %q", got)
			}
		})
	}
}

// TestHostAnswersTokenReviews: upstream's request for a TokenReview has a header and
// audiences, and nothing else.
func TestHostAnswersTokenReviews(t *testing.T) {
	shared := &authenticator.Response{User: &user.DefaultInfo{Name: "jane"}}
	one := host(func(r *http.Request) (*authenticator.Response, bool, error) {
		return shared, r.URL.Path == "" && r.Header.Get("Authorization") != "", nil
	})
	one.Audiences = authenticator.Audiences{"api", "vault"}
	for name, c := range map[string]struct{ asked, of, want authenticator.Audiences }{
		"implied": {authenticator.Audiences{"vault", "other"}, nil, authenticator.Audiences{"vault"}},
		"own":     {authenticator.Audiences{"other"}, authenticator.Audiences{"other", "api"}, authenticator.Audiences{"other"}},
		"none":    {authenticator.Audiences{"other"}, nil, nil},
	} {
		shared.Audiences = c.of
		review := &http.Request{Header: http.Header{"Authorization": {"Bearer x"}}}
		review = review.WithContext(authenticator.WithAudiences(t.Context(), c.asked))
		response, ok, err := one.AuthenticateRequest(review)
		if err != nil || ok != (c.want != nil) || ok && !slices.Equal(response.Audiences, c.want) {
			t.Errorf("%s: got %+v, %t, %v; want audiences %v", name, response, ok, err, c.want)
		}
		if !slices.Equal(shared.Audiences, c.of) {
			t.Errorf("%s: the response of the host has changed", name)
		}
	}
}

// TestBlockedHostIsBounded verifies that clients cannot add goroutines without end to an
// authenticator that does not return.
func TestBlockedHostIsBounded(t *testing.T) {
	blocked := make(chan struct{})
	t.Cleanup(func() { close(blocked) })
	one := host(func(*http.Request) (*authenticator.Response, bool, error) { <-blocked; return nil, false, nil })
	gone, leave := context.WithCancel(t.Context())
	leave()
	r := request(t).WithContext(gone)
	for range hostcall.Max {
		if _, _, err := one.AuthenticateRequest(r); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	var failure *hostcall.Failure
	_, _, err := one.AuthenticateRequest(r)
	if !errors.As(err, &failure) || failure.Code != http.StatusServiceUnavailable || !strings.Contains(failure.Message, "the authenticator Before[0] is blocked") {
		t.Errorf("got %v, want a failure with 503 and the name", err)
	}
}
