// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"maps"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Limits bounds requests and caches. Zero values are the defaults.
type Limits struct {
	// MaxRequestBodyBytes bounds the body of a request that writes. If zero, 3 MiB,
	// upstream's.
	MaxRequestBodyBytes int64
	// MinRequestTimeout is the lower bound of the random duration after which a watch
	// without a timeout ends. If zero, 30 minutes.
	MinRequestTimeout time.Duration
	// WatchCacheSizes are the sizes of the watch caches in objects, by resource, like
	// "pods" and "deployments.apps". Zero is no watch cache, other values have no effect:
	// since Kubernetes 1.19 upstream sizes caches by itself.
	WatchCacheSizes map[string]int
	// CompactionInterval is the time between two compactions of etcd. If zero, five
	// minutes.
	CompactionInterval time.Duration
}

// Clone returns a deep copy.
func (l Limits) Clone() Limits {
	l.WatchCacheSizes = maps.Clone(l.WatchCacheSizes)
	return l
}

func (l Limits) validate(at *field.Path) (errs field.ErrorList) {
	return errs
}
