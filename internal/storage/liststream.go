// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"context"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"
)

// listing ends the stream of a list when GetList returns. Upstream's store stops reading
// at an object that it cannot decode, and watch caches list with a context that never
// ends.
type listing struct{ storage.Interface }

func (s listing) GetList(ctx context.Context, key string, opts storage.ListOptions, list runtime.Object) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return s.Interface.GetList(ctx, key, opts, list)
}
