// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package hostcall_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/kubembed/kubembed/internal/hostcall"
)

// TestFailures: the answer has the name and the code, and only the log has the value.
func TestFailures(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	log := zap.New(core)
	for name, c := range map[string]struct {
		failure *hostcall.Failure
		is      func(error) bool
	}{
		"panic":   {hostcall.Exited(log, "plugin X", &hostcall.Exit{Panic: "secret"}), apierrors.IsInternalError},
		"goexit":  {hostcall.Exited(log, "plugin X", &hostcall.Exit{}), apierrors.IsInternalError},
		"overdue": {hostcall.Overdue(log, "plugin X", time.Second), apierrors.IsTimeout},
		"blocked": {hostcall.Blocked("plugin X"), apierrors.IsServiceUnavailable},
	} {
		status := c.failure.Status()
		if !c.is(c.failure) || int(status.Code) != c.failure.Code || !strings.Contains(status.Message, c.failure.Message) {
			t.Errorf("%s: got status %+v of %+v", name, status, c.failure)
		}
		if !strings.HasPrefix(c.failure.Error(), "plugin X ") || strings.Contains(status.Message, "secret") {
			t.Errorf("%s: got %q, want the name and no secret", name, status.Message)
		}
	}
	if got := logs.FilterMessage("code of the host panicked").All(); len(got) != 1 || got[0].ContextMap()["panic"] != "secret" || got[0].ContextMap()["code"] != "plugin X" {
		t.Errorf("got %+v in the log, want the panic", got)
	}
}

func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct{ timeout, deadline, limit, margin time.Duration }{
			{timeout: time.Minute, limit: 59 * time.Second, margin: time.Second},
			{timeout: time.Minute, deadline: 5 * time.Second, limit: 4500 * time.Millisecond, margin: 500 * time.Millisecond},
			{timeout: time.Second, deadline: time.Minute, limit: 900 * time.Millisecond, margin: 100 * time.Millisecond},
			{timeout: time.Minute, deadline: -time.Second},
		} {
			ctx := t.Context()
			if c.deadline != 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, c.deadline)
				defer cancel()
			}
			if limit, margin := hostcall.Limit(ctx, c.timeout); limit != c.limit || margin != c.margin {
				t.Errorf("%+v: got %s and %s", c, limit, margin)
			}
		}
	})
}

// TestAnswerFailures has a filter and an API that answer with an error after a failure.
func TestAnswerFailures(t *testing.T) {
	failure := hostcall.Overdue(zap.NewNop(), "plugin X", time.Second)
	for name, c := range map[string]struct {
		filter, api int // the status of an answer, 0 for none
		want        int
	}{
		"unauthorized":            {filter: 401, want: 504},
		"forbidden":               {filter: 403, want: 504},
		"error":                   {filter: 500, want: 504},
		"another error":           {filter: 429, want: 429},
		"error of the API":        {api: 500, want: 504},
		"forbidden by the API":    {api: 403, want: 403},
		"a review of the failure": {api: 201, want: 201},
	} {
		note := func(w http.ResponseWriter, r *http.Request, status int) {
			hostcall.NoteFailure(r.Context(), failure)
			if failed := hostcall.Failed(r.Context()); (failed != nil) != (c.filter != 0) {
				t.Errorf("%s: got failure %v of the request", name, failed)
			}
			w.WriteHeader(status)
			_, _ = w.Write([]byte("upstream's"))
		}
		handler := hostcall.AnswerFailures(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			note(w, r, c.api)
		}), func(api http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if c.filter == 0 {
					api.ServeHTTP(w, r)
					return
				}
				note(w, r, c.filter)
			})
		}, scheme.Codecs)
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
		replaced := strings.Contains(answer.Body.String(), failure.Message) && !strings.Contains(answer.Body.String(), "upstream's")
		if answer.Code != c.want || replaced != (c.want == 504) {
			t.Errorf("%s: got %d %s, want %d", name, answer.Code, answer.Body, c.want)
		}
	}
	hostcall.NoteFailure(t.Context(), failure) // not of a request
}
