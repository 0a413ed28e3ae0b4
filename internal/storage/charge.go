// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"context"

	etcdkubernetes "go.etcd.io/etcd/client/v3/kubernetes"
)

// chargeKey is the context key of the function of WithCharge.
type chargeKey struct{}

// WithCharge returns a context whose requests call charge with the length of each value
// before they store it. If charge returns an error, the value is not stored and the
// request fails with that error. Only the storage knows how much a small patch of a large
// object writes.
func WithCharge(ctx context.Context, charge func(bytes int) error) context.Context {
	return context.WithValue(ctx, chargeKey{}, charge)
}

// charged is a client that calls the function of WithCharge.
type charged struct{ etcdkubernetes.Interface }

func (c charged) OptimisticPut(ctx context.Context, key string, value []byte, expectedRevision int64, opts etcdkubernetes.PutOptions) (etcdkubernetes.PutResponse, error) {
	if charge, ok := ctx.Value(chargeKey{}).(func(int) error); ok {
		if err := charge(len(value)); err != nil {
			return etcdkubernetes.PutResponse{}, err
		}
	}
	return c.Interface.OptimisticPut(ctx, key, value, expectedRevision, opts)
}
