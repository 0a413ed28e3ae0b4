// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"testing"
	"time"

	"k8s.io/apiserver/pkg/storage/storagebackend"
)

// TestCompactionInterval: upstream's compactor takes zero for no compactions.
func TestCompactionInterval(t *testing.T) {
	for options, want := range map[*Options]time.Duration{
		{}:                                storagebackend.DefaultCompactInterval,
		{CompactionInterval: time.Minute}: time.Minute,
		{DisableCompaction: true}:         0,
	} {
		if got := options.compactionInterval(); got != want {
			t.Errorf("%+v: got %s, want %s", *options, got, want)
		}
	}
}
