// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package encryption

import (
	"context"
	"fmt"
	"runtime/debug"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/storage/value"
)

// Host has transformers of the host's, whose panics are errors with the name of the
// field: watches call them in goroutines where a panic would end the process.
type Host struct {
	Field        string
	Transformers value.ResourceTransformers
	Logger       *zap.Logger
}

// TransformerForResource implements value.ResourceTransformers.
func (h Host) TransformerForResource(resource schema.GroupResource) value.Transformer {
	t := h.Transformers.TransformerForResource(resource)
	if t == nil {
		return nil // plaintext
	}
	return hostTransformer{t, h, resource}
}

type hostTransformer struct {
	value.Transformer
	of       Host
	resource schema.GroupResource
}

func (t hostTransformer) TransformFromStorage(ctx context.Context, data []byte, about value.Context) (out []byte, stale bool, err error) {
	defer t.contain(&err)
	return t.Transformer.TransformFromStorage(ctx, data, about)
}

func (t hostTransformer) TransformToStorage(ctx context.Context, data []byte, about value.Context) (out []byte, err error) {
	defer t.contain(&err)
	return t.Transformer.TransformToStorage(ctx, data, about)
}

func (t hostTransformer) contain(err *error) {
	if panicked := recover(); panicked != nil {
		t.of.Logger.Error("a transformer of the host's panicked", zap.String("field", t.of.Field), zap.Stringer("resource", t.resource),
			zap.Any("panic", panicked), zap.ByteString("stack", debug.Stack()))
		*err = fmt.Errorf("%s: the transformer of %s panicked: %v", t.of.Field, t.resource, panicked)
	}
}
