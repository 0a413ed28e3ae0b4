// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package scheduler

import (
	"errors"

	"github.com/kubembed/kubembed/internal/klogbridge"
)

const (
	// cacheFunction is the prefix of the functions that exit the process when a pod
	// has moved to another node. No API server allows that: the database was replaced
	// under a running scheduler.
	cacheFunction = "k8s.io/kubernetes/pkg/scheduler/backend/cache.(*cacheImpl)."

	// cacheCorrupted is part of the error that they log before the exit.
	cacheCorrupted = "Scheduler cache is corrupted"
)

var errCacheCorrupted = errors.New("a pod has moved from one node to another, as after a restore of the database: start the scheduler again")

// The logger has ended the run before upstream calls klog.OsExit.
func init() { klogbridge.Contain(cacheFunction) }
