// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"reflect"
	"time"

	"k8s.io/apiserver/pkg/storage/cacher"

	"github.com/kubembed/kubembed/internal/apiserver/unexported"
)

// patience is the time for which a watch cache waits for full watches, in a row and in a
// time of the same length.
const patience = 10 * time.Second

// bePatient makes a watch cache wait for full watches. All of its watches must have a
// relay, which reads to the end: then a watch is full only while its goroutines wait for
// a core. It reports whether it has found the settings.
func bePatient(c *cacher.Cacher) bool {
	// The type is not exported.
	budget := reflect.ValueOf(c).Elem().FieldByName("dispatchTimeoutBudget")
	if budget.Kind() != reflect.Interface || budget.Elem().Kind() != reflect.Pointer {
		return false
	}
	settings := budget.Elem().Elem()
	refreshed, most, left := unexported.Field[time.Duration](settings, "refresh"), unexported.Field[time.Duration](settings, "maxBudget"),
		unexported.Field[time.Duration](settings, "budget")
	if refreshed == nil || most == nil || left == nil {
		return false
	}
	*refreshed, *most, *left = time.Second, patience, patience
	return true
}
