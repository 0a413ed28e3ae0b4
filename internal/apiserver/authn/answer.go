// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package authn

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/apiserver/pkg/endpoints/responsewriter"
)

// AnswerFailures answers requests on which an authenticator of the host has failed with
// the reason. Upstream's filter answers all requests that it does not authenticate with
// "401 Unauthorized", which makes clients ask their users for new credentials.
func AnswerFailures(next http.Handler, codecs runtime.NegotiatedSerializer) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := &failureAnswer{ResponseWriter: w, request: r, codecs: codecs}
		next.ServeHTTP(responsewriter.WrapForHTTP1Or2(answer), r.WithContext(context.WithValue(r.Context(), failureKey{}, answer)))
	})
}

type failureKey struct{}

func noteFailure(r *http.Request, failure *Failure) {
	if answer, ok := r.Context().Value(failureKey{}).(*failureAnswer); ok {
		answer.failure.Store(failure)
	}
}

// failureAnswer replaces upstream's answer about a failure.
type failureAnswer struct {
	http.ResponseWriter
	request  *http.Request
	codecs   runtime.NegotiatedSerializer
	failure  atomic.Pointer[Failure]
	replaced atomic.Bool
}

// Unwrap implements responsewriter.UserProvidedDecorator.
func (a *failureAnswer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *failureAnswer) WriteHeader(status int) {
	failure := a.failure.Load()
	if failure == nil || status != http.StatusUnauthorized {
		a.ResponseWriter.WriteHeader(status)
		return
	}
	a.replaced.Store(true)
	for _, name := range []string{"Content-Length", "Content-Encoding"} {
		a.Header().Del(name)
	}
	var err error = apierrors.NewInternalError(errors.New(failure.Message))
	switch failure.Status {
	case http.StatusGatewayTimeout:
		err = apierrors.NewTimeoutError(failure.Message, 0)
	case http.StatusServiceUnavailable:
		err = apierrors.NewServiceUnavailable(failure.Message)
	}
	responsewriters.ErrorNegotiated(err, a.codecs, schema.GroupVersion{Version: "v1"}, a.ResponseWriter, a.request)
}

func (a *failureAnswer) Write(p []byte) (int, error) {
	if a.replaced.Load() {
		return len(p), nil
	}
	return a.ResponseWriter.Write(p)
}
