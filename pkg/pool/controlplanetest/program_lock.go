// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/kubembed/kubembed/pkg/pool/internal/place"
)

// fileLock is held by one process of the user, and by the children that it passes the
// lock on to, until unlock or their end.
type fileLock struct {
	file *os.File
	left bool // to a child that goes on
}

// lock waits for a lock, and says so.
func lock(ctx context.Context, path, waiting string) (*fileLock, error) {
	if l, err := tryLockAt(path); l != nil || err != nil {
		return l, err
	}
	defer progress(waiting)()
	for {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return nil, fmt.Errorf("%s (%s): %w", waiting, path, context.Cause(ctx))
		}
		if l, err := tryLockAt(path); l != nil || err != nil {
			return l, err
		}
	}
}

// tryLockAt returns nil if another process has the lock.
func tryLockAt(path string) (*fileLock, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%w: set %s to a directory that this user can write to", err, place.Variable)
	}
	locked, err := tryLock(file)
	if locked {
		return &fileLock{file: file}, nil
	}
	_ = file.Close() // nothing was written
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w: set %s to a directory on a local file system", path, err, place.Variable)
	}
	return nil, nil
}

// leave leaves the lock to a child that it was passed on to, until the child ends.
func (l *fileLock) leave() { l.left = true }

// unlock ends the lock also in processes that it was passed on to, unless it was left to
// one.
func (l *fileLock) unlock() {
	if !l.left {
		releaseLock(l.file)
	}
	_ = l.file.Close() // nothing was written
}
