// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"context"
	"fmt"
	"os"
	"time"
)

// fileLock is held by one process of the user, and by the children that it passes the
// lock on to, until unlock or their end.
type fileLock struct{ file *os.File }

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
		return nil, fmt.Errorf("%w: set TMPDIR to a directory that this user can write to", err)
	}
	locked, err := tryLock(file)
	if locked {
		return &fileLock{file}, nil
	}
	_ = file.Close() // nothing was written
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w: set TMPDIR to a directory on a local file system", path, err)
	}
	return nil, nil
}

// unlock ends the lock also in processes that it was passed on to.
func (l *fileLock) unlock() {
	releaseLock(l.file)
	_ = l.file.Close() // nothing was written
}
