package controlplane

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
	"time"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"

	"github.com/kubembed/kubembed/internal/files"
	"github.com/kubembed/kubembed/internal/ownership"
	"github.com/kubembed/kubembed/pkg/etcd"
)

// WriteSnapshot writes a snapshot, as Snapshot does, to the file at path with mode 0600.
// The file is complete and on the disk when WriteSnapshot returns nil. A file that is there
// before stays as it is until then, and is replaced as a whole; if WriteSnapshot fails,
// nothing is left. The snapshot is written to a temporary file in the directory of path,
// which must exist. One that a killed process has left there is removed by the next call
// for the same path. A symbolic link at path is followed.
//
// On the disk of etcd it fails with etcd.ErrNoSpace rather than use the room that etcd
// needs. It ends early as Snapshot does. A disk that hangs holds a goroutine, and
// WriteSnapshot returns a second after ctx has ended, or the control plane has stopped. It
// may be called concurrently.
func (s *Server) WriteSnapshot(ctx context.Context, path string) error {
	if err := s.writeSnapshot(ctx, path); err != nil {
		return fmt.Errorf("controlplane: snapshot: %w", err)
	}
	return nil
}

func (s *Server) writeSnapshot(ctx context.Context, path string) error {
	if path == "" {
		return errors.New("path is empty: name a file")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- s.writeFile(ctx, path) }()
	var cause error
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		cause = context.Cause(ctx)
	case <-s.done:
		cause = etcd.ErrClosed
	}
	grace := time.NewTimer(snapshotGrace)
	defer grace.Stop()
	select {
	case err := <-ended:
		return err
	case <-grace.C:
		return fmt.Errorf("%w: the snapshot to %s has not ended: is its disk hung?", cause, path)
	}
}

// writeFile may be held by a disk that hangs.
func (s *Server) writeFile(ctx context.Context, path string) error {
	path, err := replaceable(path)
	if err != nil {
		return err
	}
	dir, base := filepath.Split(path)
	size, err := s.databaseSize(ctx)
	if err != nil {
		return err
	}
	removeLeftovers(dir, base)
	room := s.newRoom(dir)
	room.name = "path"
	if err := room.make(snapshotFiles{}, size, s.config.Logger); err != nil {
		return err
	}
	return writeWhole(ctx, path, temporaryName(path), func(file io.Writer) error {
		return s.snapshot(ctx, room.writer(ctx, file))
	})
}

// replaceable returns the path that a file at path is renamed to.
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

// temporaryName is the name of path while it is written.
func temporaryName(path string) string {
	return fmt.Sprintf("%s.%016x%s", path, rand.Uint64(), unfinishedSuffix)
}

// removeLeftovers removes the temporary files for name that killed processes have left, as
// far as it may.
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

// writeWhole leaves what write writes at path, on the disk, or nothing. Meanwhile it is
// at temporary, in the same directory, and locked.
func writeWhole(ctx context.Context, path, temporary string, write func(io.Writer) error) (err error) {
	file, err := createLocked(temporary)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = file.Close() // a second Close does no harm
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
		return context.Cause(ctx) // it counts as a failure already
	}
	if err := os.Rename(temporary, path); err != nil {
		return err
	}
	return files.SyncDir(filepath.Dir(path))
}

// createLocked makes an empty file, and locks it where the file system can.
func createLocked(path string) (*os.File, error) {
	const flags = os.O_WRONLY | os.O_CREATE | ownership.NoFollow
	locked, err := fileutil.TryLockFile(path, flags, fileutil.PrivateFileMode)
	if err == nil {
		return locked.File, locked.Truncate(0)
	}
	var open *fs.PathError
	if errors.As(err, &open) {
		return nil, open // etcd adds how it locks
	}
	if errors.Is(err, fileutil.ErrLocked) {
		return nil, err
	}
	return os.OpenFile(path, flags|os.O_TRUNC, fileutil.PrivateFileMode)
}

// removeUnlocked removes a file that no process is writing.
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
