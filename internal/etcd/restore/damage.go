// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"context"
	"errors"
	"fmt"

	"github.com/kubembed/kubembed/internal/etcd/errdefs"
)

// damaged returns err as damage of the snapshot. It leaves out the directory in which the
// damage was found.
func damaged(err error) error {
	if err == nil || errors.Is(err, errdefs.ErrNewerVersion) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if file := (*errdefs.FileError)(nil); errors.As(err, &file) {
		err = file.Err
	}
	return fmt.Errorf("the snapshot: %w: %w", errDamaged, err)
}

// errDamaged is ErrCorrupt about a snapshot.
var errDamaged error = damagedError{}

type damagedError struct{}

func (damagedError) Error() string        { return "it is damaged" }
func (damagedError) Is(target error) bool { return target == errdefs.ErrCorrupt }
