// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package storage

import "k8s.io/apiserver/pkg/storage"

// Cached reports whether s has a watch cache.
func Cached(s storage.Interface) bool {
	_, cached := s.(warming)
	return cached
}

// BePatient reports whether the settings of the watch cache of s were found and changed.
func BePatient(s storage.Interface) bool {
	cached, ok := s.(warming)
	return ok && bePatient(cached.cacher)
}
