// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"

	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/apiserver/pkg/endpoints/responsewriter"
	"k8s.io/apiserver/pkg/server/mux"

	"github.com/kubembed/kubembed/internal/hostcall"
)

// apiTrees are the paths of the API server with everything below them.
var apiTrees = []string{
	"/.well-known", "/api", "/apis", "/configz", "/debug", "/flagz", "/healthz", "/livez", "/logs",
	"/openapi", "/openid", "/readyz", "/statusz", "/version",
}

// apiPaths are further paths of the API server. Others may be below them.
var apiPaths = []string{"/index.html", "/metrics", "/metrics/slis"}

// CheckPattern returns why a handler of the host cannot have a pattern: a path, or with a
// slash at its end all paths below it.
func CheckPattern(pattern string) error {
	bare := strings.TrimSuffix(pattern, "/")
	switch {
	case !strings.HasPrefix(pattern, "/"):
		return errors.New(`must be a path like "/app", without a method or a host, or "/app/" for all paths below it`)
	case bare == "":
		return errors.New(`would hide the API of the server: choose a path like "/app/"`)
	case path.Clean(bare) != bare, strings.HasSuffix(bare, "/"), strings.ContainsAny(bare, "{}?#% "):
		return errors.New(`must be a plain path: patterns match literally, with everything below them if they end with a slash`)
	}
	for _, tree := range apiTrees {
		if bare == tree || strings.HasPrefix(bare, tree+"/") {
			return fmt.Errorf("would hide paths of the API server, which has all paths from %s: choose another path", tree)
		}
	}
	if slices.Contains(apiPaths, bare) {
		return fmt.Errorf("would hide %s of the API server: choose another path", bare)
	}
	return nil
}

// HostHandlers are handlers of the host at paths of the API server.
type HostHandlers struct {
	Field    string                  // of the configuration, for errors
	Handlers map[string]http.Handler // by pattern
	Logger   *zap.Logger
}

// Install adds the handlers to the paths that the API server lists at /.
func (h *HostHandlers) Install(paths *mux.PathRecorderMux) {
	for pattern, handler := range h.Handlers {
		served := h.served(pattern, handler)
		if strings.HasSuffix(pattern, "/") {
			paths.HandlePrefix(pattern, served)
		} else {
			paths.Handle(pattern, served)
		}
	}
}

func (h *HostHandlers) name(pattern string) string { return fmt.Sprintf("%s[%q]", h.Field, pattern) }

// served contains a handler that panics, for which upstream would answer without its
// name, or that ends its goroutine, for which upstream would answer 200.
func (h *HostHandlers) served(pattern string, handler http.Handler) http.Handler {
	name := h.name(pattern)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		call, ok := r.Context().Value(hostCallKey{}).(*hostCall)
		if ok {
			call.running.Store(&name)
			defer call.running.Store(nil)
		}
		answer := &hostAnswer{ResponseWriter: w, call: call}
		returned := false
		defer func() {
			if returned {
				return
			}
			panicked := recover()
			if err, ok := panicked.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(panicked)
			}
			logger := h.Logger.With(zap.String("method", r.Method), zap.String("path", r.URL.Path))
			failure := hostcall.Exited(logger, name, &hostcall.Exit{Panic: panicked, Stack: debug.Stack()})
			if answer.begun {
				panic(http.ErrAbortHandler) // a client must not take the part for the whole
			}
			writeError(w, failure)
		}()
		handler.ServeHTTP(responsewriter.WrapForHTTP1Or2(answer), r)
		returned = true
		if !answer.begun {
			answer.WriteHeader(http.StatusOK) // with the headers, which upstream's filter would drop
		}
	})
}

// hostAnswer notes whether a response has begun.
type hostAnswer struct {
	http.ResponseWriter
	call  *hostCall // nil if it is not observed
	begun bool
}

func (a *hostAnswer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *hostAnswer) begin() {
	a.begun = true
	if a.call != nil {
		a.call.answered.Store(true)
	}
}

func (a *hostAnswer) WriteHeader(code int) {
	if code >= http.StatusOK || code == http.StatusSwitchingProtocols {
		a.begin()
	}
	a.ResponseWriter.WriteHeader(code)
}

func (a *hostAnswer) Write(data []byte) (int, error) {
	a.begin()
	return a.ResponseWriter.Write(data)
}

// Flush sends the header of the response.
func (a *hostAnswer) Flush() {
	a.begin()
	_ = http.NewResponseController(a.ResponseWriter).Flush()
}

// Matches reports whether a path belongs to a handler of the host.
func (h *HostHandlers) Matches(path string) bool {
	if len(h.Handlers) == 0 {
		return false
	}
	if _, ok := h.Handlers[path]; ok {
		return true
	}
	for pattern := range h.Handlers {
		if strings.HasSuffix(pattern, "/") && strings.HasPrefix(path, pattern) {
			return true
		}
	}
	return false
}

// Refuse answers a request for a handler of the host whose path has empty segments, "."
// or "..", and reports whether it has. The authorizers and the server compare paths as
// they are, and http.FileServer, for example, would serve the file at the cleaned path.
func (h *HostHandlers) Refuse(w http.ResponseWriter, r *http.Request) bool {
	asked := r.URL.Path
	if bare := strings.TrimSuffix(asked, "/"); path.Clean(bare) == bare {
		return false
	}
	writeError(w, apierrors.NewBadRequest(fmt.Sprintf("%q: paths of %s must not have //, or the segments . and ..", asked, h.Field)))
	return true
}

type hostCallKey struct{}

// hostCall is a request for a handler of the host.
type hostCall struct {
	running  atomic.Pointer[string] // the name of the handler, while it runs
	answered atomic.Bool            // by the handler
}

// Observe returns the request and the writer for the chain of filters. If the handler of
// the host does not return within the timeout of the request, the response names it.
func (h *HostHandlers) Observe(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, *http.Request) {
	call := &hostCall{}
	observed := &observedAnswer{ResponseWriter: w, call: call, of: h, r: r}
	return responsewriter.WrapForHTTP1Or2(observed), r.WithContext(context.WithValue(r.Context(), hostCallKey{}, call))
}

// observedAnswer replaces the response of upstream's timeout filter, which comes while
// the handler still runs.
type observedAnswer struct {
	http.ResponseWriter
	call     *hostCall
	of       *HostHandlers
	r        *http.Request
	replaced bool
}

func (a *observedAnswer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *observedAnswer) WriteHeader(code int) {
	name := a.call.running.Load()
	if a.replaced || code != http.StatusGatewayTimeout || name == nil || a.call.answered.Load() || a.r.Context().Err() != nil {
		a.ResponseWriter.WriteHeader(code)
		return
	}
	a.replaced = true
	a.of.Logger.Warn(*name+" has not returned within the timeout of the request, and still runs",
		zap.String("method", a.r.Method), zap.String("path", a.r.URL.Path))
	writeError(a.ResponseWriter, apierrors.NewTimeoutError(*name+" has not returned within the timeout of the request", 0))
}

// writeError responds with a Status, as the API server does.
func writeError(w http.ResponseWriter, err error) {
	status := responsewriters.ErrorToAPIStatus(err)
	responsewriters.WriteRawJSON(int(status.Code), status, w)
}

func (a *observedAnswer) Write(data []byte) (int, error) {
	if a.replaced {
		return len(data), nil
	}
	return a.ResponseWriter.Write(data)
}
