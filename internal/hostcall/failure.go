// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package hostcall

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Failure is the failure of code that is called for requests. It is the same for all
// code: the HTTP status is 500 if the code panics or ends its goroutine, 504 if it does
// not return in time, and 503 if Max calls have not returned. The message has the name of
// the code.
type Failure struct {
	Code    int // the HTTP status
	Message string
}

func (f *Failure) Error() string { return f.Message }

// Status implements k8s.io/apimachinery/pkg/api/errors.APIStatus.
func (f *Failure) Status() metav1.Status {
	switch f.Code {
	case http.StatusGatewayTimeout:
		return apierrors.NewTimeoutError(f.Message, 0).ErrStatus
	case http.StatusServiceUnavailable:
		return apierrors.NewServiceUnavailable(f.Message).ErrStatus
	}
	return apierrors.NewInternalError(errors.New(f.Message)).ErrStatus
}

// Exited logs how the code has ended, and returns the failure. The value of a panic is in
// the log only: it may have secrets of the host, and clients without credentials get the
// message.
func Exited(logger *zap.Logger, name string, exit *Exit) *Failure {
	if exit.Panic == nil {
		logger.Error("code of the host ended its goroutine", zap.String("code", name), zap.ByteString("stack", exit.Stack))
		return &Failure{http.StatusInternalServerError, name + " ended its goroutine"}
	}
	logger.Error("code of the host panicked", zap.String("code", name), zap.Any("panic", exit.Panic), zap.ByteString("stack", exit.Stack))
	return &Failure{http.StatusInternalServerError, name + " panicked: the log of the server has the reason"}
}

// Overdue logs that the code has not returned in time, and returns the failure.
func Overdue(logger *zap.Logger, name string, after time.Duration) *Failure {
	logger.Warn("code of the host has not returned in time", zap.String("code", name), zap.Duration("after", after))
	return &Failure{http.StatusGatewayTimeout, fmt.Sprintf("%s has not returned within %s", name, after.Round(time.Millisecond))}
}

// Blocked is the failure of a call that Go has refused.
func Blocked(name string) *Failure {
	return &Failure{http.StatusServiceUnavailable, fmt.Sprintf("%s is blocked: %d calls have not returned", name, Max)}
}

// Limit returns the time that a call may take, and the margin that is then left for the
// answer: a tenth of the time that is left, a second at most. At the deadline of a
// request upstream answers, without the name of the code. timeout bounds calls for
// requests without a deadline, such as watches.
func Limit(ctx context.Context, timeout time.Duration) (limit, margin time.Duration) {
	if deadline, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(deadline))
	}
	timeout = max(0, timeout)
	margin = min(timeout/10, time.Second)
	return timeout - margin, margin
}
