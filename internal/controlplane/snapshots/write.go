// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package snapshots

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	"go.uber.org/zap"

	syncfiles "github.com/kubembed/kubembed/internal/files"
	"github.com/kubembed/kubembed/internal/ownership"
)

// WriteFile writes a snapshot of size bytes to path, and replaces a file that exists.
// disk returns the disk of a directory. It is called with that of the file: if path is a
// symbolic link, with the directory of its target. A disk that hangs may block WriteFile
// forever.
func WriteFile(ctx context.Context, path string, size int64, disk func(dir string) *Disk, logger *zap.Logger, write func(io.Writer) error) error {
	path, err := replaceable(path)
	if err != nil {
		return err
	}
	dir, base := filepath.Split(path)
	removeLeftovers(dir, base)
	room := disk(filepath.Clean(dir))
	if err := room.makeRoom(files{}, size, logger); err != nil {
		return err
	}
	return writeWhole(ctx, path, temporaryName(path), func(file io.Writer) error {
		return write(room.Writer(ctx, file))
	})
}

// replaceable returns the path to rename a finished file to: path, or the target if path
// is a symbolic link.
func replaceable(path string) (string, error) {
	info, err := os.Lstat(path)
	if err == nil && info.Mode()&fs.ModeSymlink != 0 {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			info, err = os.Lstat(path)
		}
		if err != nil {
			return "", fmt.Errorf("path is a symbolic link whose target cannot be replaced: %w", err)
		}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return path, nil
	case err != nil:
		return "", err
	case info.IsDir():
		return "", fmt.Errorf("%s is a directory: name a file in it", path)
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("%s is not a regular file (%v), and would be replaced: use Server.Snapshot for a pipe or device", path, info.Mode().Type())
	}
	return path, nil
}

// temporaryName returns the name for the file at path while it is written.
func temporaryName(path string) string {
	return fmt.Sprintf("%s.%016x%s", path, rand.Uint64(), unfinishedSuffix)
}

// removeLeftovers removes the temporary files for name that killed processes have left.
// It ignores errors.
func removeLeftovers(dir, name string) {
	entries, _ := os.ReadDir(dir)
	for _, entry := range entries {
		rest, ours := strings.CutPrefix(entry.Name(), name+".")
		digits, unfinished := strings.CutSuffix(rest, unfinishedSuffix)
		if ours && unfinished && len(digits) == 16 && strings.Trim(digits, "0123456789abcdef") == "" && entry.Type().IsRegular() {
			_ = removeUnlocked(filepath.Join(dir, entry.Name()))
		}
	}
}

// writeWhole leaves a complete, synchronized file at path, or none. While it is written,
// the file is at temporary, in the same directory, and locked.
func writeWhole(ctx context.Context, path, temporary string, write func(io.Writer) error) (err error) {
	file, err := createLocked(temporary)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = file.Close() // may be closed already
			_ = os.Remove(temporary)
		}
	}()
	if err := write(file); err != nil {
		return err
	}
	if err := errors.Join(file.Sync(), file.Close()); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx) // the caller has reported a failure
	}
	if err := os.Rename(temporary, path); err != nil {
		return err
	}
	return syncfiles.SyncDir(filepath.Dir(path))
}

// createLocked creates an empty file, and locks it if the file system can.
func createLocked(path string) (*os.File, error) {
	const flags = os.O_WRONLY | os.O_CREATE | ownership.NoFollow
	locked, err := fileutil.TryLockFile(path, flags, fileutil.PrivateFileMode)
	if err == nil {
		return locked.File, locked.Truncate(0)
	}
	if open, ok := errors.AsType[*fs.PathError](err); ok {
		return nil, open // without etcd's text about locks
	}
	if errors.Is(err, fileutil.ErrLocked) {
		return nil, err
	}
	return os.OpenFile(path, flags|os.O_TRUNC, fileutil.PrivateFileMode)
}

// removeUnlocked removes a file unless a process is writing it.
func removeUnlocked(path string) error {
	locked, err := fileutil.TryLockFile(path, os.O_WRONLY, fileutil.PrivateFileMode)
	switch {
	case err == nil:
		_ = locked.Close()
	case errors.Is(err, fileutil.ErrLocked):
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
