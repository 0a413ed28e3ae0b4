// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"errors"
	"sync"

	"go.uber.org/zap"

	"github.com/kubembed/kubembed/internal/containment"
)

// fatal holds the first error for which the Kubernetes code would have ended the process
// on a goroutine of the control plane: klog.Fatal, or a panic that it does not recover.
// The error ends the control plane or its start.
type fatal struct {
	once  sync.Once
	given chan struct{} // closed when err is set
	err   error
}

func newFatal() *fatal { return &fatal{given: make(chan struct{})} }

// give is called with klog's lock held.
func (f *fatal) give(err error, abandon context.CancelCauseFunc) {
	f.once.Do(func() {
		f.err = err
		close(f.given)
		abandon(err)
	})
}

// ignore drops later errors. It is called when a stop begins: interrupted hooks return
// errors for which upstream ends the process.
func (f *fatal) ignore() {
	if f != nil {
		f.once.Do(func() {})
	}
}

// cause returns the error, or nil if there is none.
func (f *fatal) cause() error {
	if closed(f.given) {
		return f.err
	}
	return nil
}

// logPanic logs the stack of a panic that has failed a start.
func (s *Server) logPanic(err error) {
	if failure := (*containment.Error)(nil); errors.As(err, &failure) && failure.Stack != nil {
		s.config.Logger.Error("panicked", zap.Any("panic", failure.Value), zap.ByteString("stack", failure.Stack))
	}
}
