// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package authn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	"k8s.io/apiserver/pkg/audit"
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
		failure.annotate(r.Context())
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
	responsewriters.ErrorNegotiated(failure.answer(), a.codecs, schema.GroupVersion{Version: "v1"}, a.ResponseWriter, a.request)
}

// answer returns the error that the client gets.
func (f *Failure) answer() *apierrors.StatusError {
	switch f.Status {
	case http.StatusGatewayTimeout:
		return apierrors.NewTimeoutError(f.Message, 0)
	case http.StatusServiceUnavailable:
		return apierrors.NewServiceUnavailable(f.Message)
	}
	return apierrors.NewInternalError(errors.New(f.Message))
}

// failureAnnotation is in the audit events of requests with a failure. Its value has the
// status and the message.
const failureAnnotation = "authentication.kubembed.io/failure"

func (f *Failure) annotate(ctx context.Context) {
	audit.AddAuditAnnotation(ctx, failureAnnotation, fmt.Sprintf("%d %s", f.Status, f.Message))
}

func annotated(event *auditinternal.Event) (*Failure, bool) {
	status, message, ok := strings.Cut(event.Annotations[failureAnnotation], " ")
	if !ok {
		return nil, false
	}
	code, err := strconv.Atoi(status)
	return &Failure{Status: code, Message: message}, err == nil
}

// audit sets the answer of an event.
func (f *Failure) audit(event *auditinternal.Event) {
	status := f.answer().Status()
	event.ResponseStatus = &status
	if event.ResponseObject != nil {
		object := status
		object.APIVersion, object.Kind = "v1", "Status"
		raw, _ := json.Marshal(object)
		event.ResponseObject = &runtime.Unknown{Raw: raw, ContentType: runtime.ContentTypeJSON}
	}
}

// AuditFailures returns a backend whose events have the answers of AnswerFailures: that
// comes after the filters that set the answer of an event. It is nil for nil.
func AuditFailures(next audit.Backend) audit.Backend {
	if next == nil {
		return nil
	}
	return failureAudit{next}
}

type failureAudit struct{ audit.Backend }

// ProcessEvents implements audit.Sink.
func (a failureAudit) ProcessEvents(events ...*auditinternal.Event) bool {
	for _, event := range events {
		if event.ResponseStatus == nil || event.ResponseStatus.Code != http.StatusUnauthorized {
			continue
		}
		if failure, ok := annotated(event); ok {
			failure.audit(event)
		}
	}
	return a.Backend.ProcessEvents(events...)
}

func (a *failureAnswer) Write(p []byte) (int, error) {
	if a.replaced.Load() {
		return len(p), nil
	}
	return a.ResponseWriter.Write(p)
}
