// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"context"
	"io"
	"net/http"

	"k8s.io/client-go/rest"
)

// guard ends the requests of a client with the test.
func (cp *ControlPlane) guard(config *rest.Config) *rest.Config {
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return guarded{cp, next} })
	return config
}

type guarded struct {
	cp   *ControlPlane
	next http.RoundTripper
}

// WrappedRoundTripper lets client-go find the inner transport.
func (g guarded) WrappedRoundTripper() http.RoundTripper { return g.next }

func (g guarded) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := g.cp.endedErr(); err != nil {
		if req.Body != nil {
			_ = req.Body.Close()
		}
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(req.Context())
	release := context.AfterFunc(g.cp.ctx, func() { cancel(context.Cause(g.cp.ctx)) })
	resp, err := g.next.RoundTrip(req.WithContext(ctx))
	if err != nil {
		release()
		cancel(nil)
		return nil, g.cp.explain(err)
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return resp, nil // the body is a connection and must not be wrapped
	}
	resp.Body = &guardedBody{resp.Body, g.cp, func() { release(); cancel(nil) }}
	return resp, nil
}

// explain returns the end of the test in place of an error that it caused.
func (cp *ControlPlane) explain(err error) error {
	if over := cp.endedErr(); over != nil {
		return over
	}
	return err
}

// guardedBody is the body of a response that ends with the test.
type guardedBody struct {
	io.ReadCloser
	cp      *ControlPlane
	release func()
}

func (b *guardedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF { //nolint:errorlint // a reader's end is this very value
		err = b.cp.explain(err)
	}
	return n, err
}

func (b *guardedBody) Close() error {
	defer b.release()
	return b.ReadCloser.Close()
}
