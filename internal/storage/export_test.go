// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package storage

import "k8s.io/apiserver/pkg/storage"

// Cached reports whether s has a watch cache.
func Cached(s storage.Interface) bool {
	_, cached := s.(warming)
	return cached
}
