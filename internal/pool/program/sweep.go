// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package program

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/kubembed/kubembed/internal/dirlock"
)

// unusedFor is the time after which nobody needs the directory of a program: tests touch
// the one of theirs.
const unusedFor = 24 * time.Hour

// sweep removes the directories beside dir that no program or test has used for long:
// each build of the program has one. Errors leave a directory to the next sweep.
func sweep(dir string) {
	parent := filepath.Dir(dir)
	entries, err := os.ReadDir(parent)
	if err != nil {
		return
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || !info.IsDir() || time.Since(info.ModTime()) < unusedFor {
			continue
		}
		other := filepath.Join(parent, entry.Name())
		if other == dir {
			continue
		}
		lock, err := dirlock.TakeExisting(other)
		switch {
		case err == nil:
			lock.Unlock() // Windows removes no open file
		case !errors.Is(err, fs.ErrNotExist):
			continue // a program serves
		}
		_ = os.RemoveAll(other)
	}
}
