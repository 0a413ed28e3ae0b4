// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package hostcall

import (
	"context"
	"net/http"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/apiserver/pkg/endpoints/responsewriter"
)

// AnswerFailures returns the chain of filters in front of api, with the answers about
// failures that NoteFailure has noted. Upstream's filters answer 401 to all requests that
// they cannot authenticate, so that clients ask their users for new credentials. For a
// failing authorizer they answer 500 or 403.
func AnswerFailures(api http.Handler, chain func(http.Handler) http.Handler, codecs runtime.NegotiatedSerializer) http.Handler {
	filtered := chain(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if answer := answerOf(r.Context()); answer != nil {
			answer.admitted.Store(true)
		}
		api.ServeHTTP(w, r)
	}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := &failureAnswer{ResponseWriter: w, request: r, codecs: codecs}
		filtered.ServeHTTP(responsewriter.WrapForHTTP1Or2(answer), r.WithContext(context.WithValue(r.Context(), failureKey{}, answer)))
	})
}

// NoteFailure makes failure the answer to the request of ctx, if upstream answers with an
// error for it.
func NoteFailure(ctx context.Context, failure *Failure) {
	if answer := answerOf(ctx); answer != nil {
		answer.failure.Store(failure)
		failure.annotate(ctx)
	}
}

// Failed returns the failure on which the filters will refuse the request of ctx, or nil.
func Failed(ctx context.Context) *Failure {
	if answer := answerOf(ctx); answer != nil && !answer.admitted.Load() {
		return answer.failure.Load()
	}
	return nil
}

type failureKey struct{}

func answerOf(ctx context.Context) *failureAnswer {
	answer, _ := ctx.Value(failureKey{}).(*failureAnswer)
	return answer
}

// failureAnswer replaces upstream's answer about a failure.
type failureAnswer struct {
	http.ResponseWriter
	request  *http.Request
	codecs   runtime.NegotiatedSerializer
	failure  atomic.Pointer[Failure]
	admitted atomic.Bool // the filters have accepted the request
	replaced atomic.Bool
}

// Unwrap implements responsewriter.UserProvidedDecorator.
func (a *failureAnswer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// replaces reports whether upstream answers with status for a failure. The handlers of
// the API ask authorizers again for a PUT that creates an object.
func (a *failureAnswer) replaces(status int) bool {
	switch status {
	case http.StatusInternalServerError:
		return true
	case http.StatusUnauthorized, http.StatusForbidden:
		return !a.admitted.Load()
	}
	return false
}

func (a *failureAnswer) WriteHeader(status int) {
	failure := a.failure.Load()
	if failure == nil || !a.replaces(status) {
		a.ResponseWriter.WriteHeader(status)
		return
	}
	a.replaced.Store(true)
	for _, name := range []string{"Content-Length", "Content-Encoding"} {
		a.Header().Del(name)
	}
	responsewriters.ErrorNegotiated(failure, a.codecs, schema.GroupVersion{Version: "v1"}, a.ResponseWriter, a.request)
}

func (a *failureAnswer) Write(p []byte) (int, error) {
	if a.replaced.Load() {
		return len(p), nil
	}
	return a.ResponseWriter.Write(p)
}
