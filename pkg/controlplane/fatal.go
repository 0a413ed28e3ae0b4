package controlplane

import (
	"context"
	"errors"
	"sync"

	"go.uber.org/zap"

	"github.com/kubembed/kubembed/internal/containment"
)

// fatal is the first error for which the Kubernetes code would have ended the process, on
// a goroutine of the control plane: klog.Fatal, or a panic that it does not recover. It
// ends the control plane, or its start.
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

// ignore is called when the control plane is stopped, for whatever reason: hooks that are
// cut short return errors, for which upstream ends the process.
func (f *fatal) ignore() {
	if f != nil {
		f.once.Do(func() {})
	}
}

// cause returns nil while there is none.
func (f *fatal) cause() error {
	if closed(f.given) {
		return f.err
	}
	return nil
}

// logPanic keeps the stack of a panic that has become the error of a start.
func (s *Server) logPanic(err error) {
	if failure := (*containment.Error)(nil); errors.As(err, &failure) && failure.Stack != nil {
		s.config.Logger.Error("panicked", zap.Any("panic", failure.Value), zap.ByteString("stack", failure.Stack))
	}
}
