// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package snapshotio

import (
	"context"
	"io"
)

// ContextReader returns a reader that fails once ctx has ended.
func ContextReader(ctx context.Context, r io.Reader) io.Reader { return &contextReader{ctx, r} }

type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r *contextReader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.r.Read(p)
}
