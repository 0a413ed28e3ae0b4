package controlplane

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"go.uber.org/zap"

	"github.com/kubembed/kubembed/internal/files"
	"github.com/kubembed/kubembed/internal/ownership"
)

// checkName is the name, to which temporaryName adds, of the file that a start writes to
// see that it can.
const checkName = "kubembed-check"

// checkSnapshotDir refuses at the start what each snapshot would be refused for. A disk that
// is full is no such thing: old snapshots make room.
func (s *Server) checkSnapshotDir() error {
	if c := s.config.Snapshots; c.Interval == 0 && c.Dir == "" {
		return nil
	}
	dir := s.snapshotDir()
	err := ownership.Dir(dir)
	if errors.Is(err, ErrUntrusted) {
		return fmt.Errorf("Config.Snapshots.Dir: %w", err)
	}
	if err == nil {
		err = s.tryWrite(dir)
	}
	if errors.Is(err, errDiskFull) || errors.Is(err, errDiskQuota) {
		s.config.Logger.Warn("the disk of the snapshots is full", zap.String("field", "Config.Snapshots.Dir"), zap.String("dir", dir), zap.Error(err))
		return nil
	}
	if err != nil {
		return fmt.Errorf("Config.Snapshots.Dir: %s: no snapshot can be written there: %w: name a directory that this process can write to", dir, err)
	}
	return nil
}

// tryWrite writes to dir as a snapshot does.
func (s *Server) tryWrite(dir string) error {
	made := missing(dir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		removeEmpty(made)
		return err
	}
	s.madeDirs = made
	removeLeftovers(dir, checkName)
	file, err := createLocked(temporaryName(filepath.Join(dir, checkName)))
	if err != nil {
		return err
	}
	_, err = file.Write([]byte("x"))
	return errors.Join(err, file.Sync(), file.Close(), os.Remove(file.Name()), files.SyncDir(dir))
}

// missing returns the directories that MkdirAll would make, the outermost first.
func missing(dir string) (all []string) {
	for {
		if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
			slices.Reverse(all)
			return all
		}
		all = append(all, dir)
		dir = filepath.Dir(dir)
	}
}

// removeEmpty removes directories that this process has made, if they are empty.
func removeEmpty(made []string) {
	for _, dir := range slices.Backward(made) {
		_ = os.Remove(dir)
	}
}
