// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package authn

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"

	"go.uber.org/zap"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/group"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/kubembed/kubembed/internal/hostcall"
	"github.com/kubembed/kubembed/internal/nils"
)

// Host is an authenticator of the host program. A panic in it or an answer that does not
// come ends the request with a *hostcall.Failure.
type Host struct {
	authenticator.Request
	// Name is the field with the authenticator, for messages.
	Name string
	// Timeout bounds a call. That of the request may end it earlier.
	Timeout time.Duration
	// Audiences are the audiences of a response that has none.
	Audiences authenticator.Audiences
	Logger    *zap.Logger

	calls hostcall.Calls
}

// AuthenticateRequest implements authenticator.Request.
func (h *Host) AuthenticateRequest(r *http.Request) (*authenticator.Response, bool, error) {
	limit, _ := hostcall.Limit(r.Context(), h.Timeout)
	ctx, cancel := context.WithTimeout(r.Context(), limit)
	defer cancel()
	// The authenticator may use the request after this call has given up on it.
	own := r.Clone(ctx)
	if own.URL == nil { // that of a TokenReview has nothing but a header
		own.URL = &url.URL{}
	}
	done := make(chan result, 1)
	if !hostcall.Go(&h.calls, func() (answer result) {
		answer.response, answer.ok, answer.err = h.Request.AuthenticateRequest(own)
		if answer.ok && answer.err == nil {
			answer.response = copied(answer.response)
		}
		return answer
	}, func(r hostcall.Result[result]) {
		if r.Exit != nil {
			r.Value.err = hostcall.Exited(h.Logger, h.code(), r.Exit)
		}
		done <- r.Value
	}) {
		return nil, false, hostcall.Blocked(h.code())
	}
	select {
	case answer := <-done:
		if answer.err == nil || ctx.Err() == nil { // otherwise the error is that of ctx
			response, ok, err := answer.checked(h)
			if err != nil || !ok {
				return nil, false, err
			}
			if response, ok = h.forAudiences(ctx, response); ok {
				takeHeaders(r.Header, own.Header)
			}
			return response, ok, nil
		}
	case <-ctx.Done():
	}
	if err := r.Context().Err(); errors.Is(err, context.Canceled) {
		return nil, false, fmt.Errorf("%s: %w", h.Name, err) // the client has left
	}
	return nil, false, hostcall.Overdue(h.Logger, h.code(), limit)
}

// code names the authenticator in failures.
func (h *Host) code() string { return "the authenticator " + h.Name }

// forAudiences returns the response with the audiences that the request asks for, and
// false if it has none of them. The client of a TokenReview chooses them. The host may
// use its response for several requests: it is not changed.
func (h *Host) forAudiences(ctx context.Context, response *authenticator.Response) (*authenticator.Response, bool) {
	wanted, ok := authenticator.AudiencesFrom(ctx)
	if !ok {
		return response, true
	}
	audiences := response.Audiences
	if len(audiences) == 0 {
		audiences = h.Audiences
	}
	common := audiences.Intersect(wanted)
	return &authenticator.Response{User: response.User, Audiences: common}, len(common) > 0
}

// takeHeaders removes or changes the headers of a request that an authenticator has
// removed from its copy, or changed. It changes the map itself, which other copies of the
// request share.
func takeHeaders(headers, own http.Header) {
	for name := range headers {
		if values, ok := own[name]; ok {
			headers[name] = values
		} else {
			delete(headers, name)
		}
	}
}

type result struct {
	response *authenticator.Response
	ok       bool
	err      error
}

// copied returns a response whose user has no code of the host, which would panic in
// upstream's filters. It is nil without a user.
func copied(response *authenticator.Response) *authenticator.Response {
	if response == nil || nils.Is(response.User) {
		return nil
	}
	return &authenticator.Response{Audiences: response.Audiences, User: &user.DefaultInfo{
		Name:   response.User.GetName(),
		UID:    response.User.GetUID(),
		Groups: slices.Clone(response.User.GetGroups()),
		Extra:  maps.Clone(response.User.GetExtra()),
	}}
}

// checked refuses answers that upstream's filters would panic on.
func (a result) checked(h *Host) (*authenticator.Response, bool, error) {
	switch {
	case a.err != nil:
		if failure, ok := errors.AsType[*hostcall.Failure](a.err); ok {
			return nil, false, failure
		}
		return nil, false, fmt.Errorf("%s: %w", h.Name, a.err)
	case !a.ok:
		return nil, false, nil
	case a.response == nil || a.response.User.GetName() == "":
		return nil, false, &hostcall.Failure{Code: http.StatusInternalServerError, Message: h.code() + " accepted a request without the name of a user"}
	}
	return a.response, true, nil
}

// Hosts asks the authenticators of the host in their order, and adds system:authenticated
// to the groups of their users, as upstream does for its own.
func Hosts(hosts []*Host) authenticator.Request {
	var all []authenticator.Request
	for _, host := range hosts {
		all = append(all, host)
	}
	return group.NewAuthenticatedGroupAdder(Union(all))
}

// Union asks authenticators until one accepts, like upstream's union. A *hostcall.Failure
// ends it.
type Union []authenticator.Request

// AuthenticateRequest implements authenticator.Request.
func (u Union) AuthenticateRequest(r *http.Request) (*authenticator.Response, bool, error) {
	var errs []error
	for _, next := range u {
		response, ok, err := next.AuthenticateRequest(r)
		if failure, ok := errors.AsType[*hostcall.Failure](err); ok {
			hostcall.NoteFailure(r.Context(), failure)
			return nil, false, failure
		}
		switch {
		case err != nil:
			errs = append(errs, err)
		case ok:
			return response, true, nil
		}
	}
	return nil, false, utilerrors.NewAggregate(errs)
}
