package controlplane

import (
	"errors"
	"io/fs"
	"os"
	"time"

	"go.uber.org/zap"
)

// logSnapshot says that there is a snapshot at path, which was begun at the time given, and
// which of those before are not there any more.
func (s *schedule) logSnapshot(path string, begin time.Time, before snapshotFiles) {
	fields := []zap.Field{zap.String("path", path), zap.Duration("took", s.clock.Since(begin))}
	if info, err := os.Stat(path); err == nil {
		fields = append(fields, zap.Int64("size", info.Size()))
	}
	s.logger.Info("snapshot written", fields...)
	for _, old := range before.finished {
		if _, err := os.Stat(old.path); errors.Is(err, fs.ErrNotExist) {
			s.logger.Info("snapshot removed", zap.String("path", old.path), zap.Int64("size", old.size), zap.Int("keep", s.config.Keep))
		}
	}
}
