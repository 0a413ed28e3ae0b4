package scheduler

import (
	"errors"

	"github.com/kubembed/kubembed/internal/klogbridge"
)

const (
	// cacheFunction begins the names of the functions that end the process when
	// a pod that was on one node is seen on another, which no API server allows:
	// the database was replaced under a running scheduler.
	cacheFunction = "k8s.io/kubernetes/pkg/scheduler/backend/cache.(*cacheImpl)."

	// cacheCorrupted is what they log before.
	cacheCorrupted = "Scheduler cache is corrupted"
)

var errCacheCorrupted = errors.New("a pod has moved from one node to another, as after a restore of the database: start again")

// The scheduler's logger has ended the run by then.
func init() { klogbridge.Contain(cacheFunction) }
