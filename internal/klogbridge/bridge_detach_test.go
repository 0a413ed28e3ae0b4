// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package klogbridge_test

import (
	"sync"
	"testing"

	"go.uber.org/zap"
	"k8s.io/klog/v2"

	"github.com/kubembed/kubembed/internal/klogbridge"
)

// TestDetachWhileOthersLog: klog calls the bridge with a lock held that the bridge takes
// to release klog. They used to wait for each other forever.
func TestDetachWhileOthersLog(t *testing.T) {
	stop := make(chan struct{})
	var loggers sync.WaitGroup
	for range 4 {
		loggers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					klog.V(0).Info("a line")
				}
			}
		})
	}
	for range 200 {
		_ = klogbridge.Attach(zap.NewNop())() // the last one releases klog
	}
	close(stop)
	loggers.Wait()
}
