package apiserver

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.uber.org/zap"
)

const (
	// auditBackupTime is the format of the time in the names of rotated files,
	// audit-TIME.log. It is lumberjack's.
	auditBackupTime = "2006-01-02T15-04-05.000"
	// auditClockInterval is how often these names are checked. A rotation in between,
	// after a clock was set back, may still delete the newest.
	auditClockInterval = time.Minute
)

// auditBackups are the files that were rotated from the audit log. lumberjack keeps those
// with the latest names. Where a clock was ahead and has been corrected, it would delete
// each new one at once and keep the old.
type auditBackups struct {
	log    string // Audit.LogPath
	logger *zap.Logger
}

// correct renames files from the future to the last milliseconds before now, in their
// order.
func (b auditBackups) correct(now time.Time) error {
	ext := filepath.Ext(b.log)
	prefix := strings.TrimSuffix(filepath.Base(b.log), ext) + "-"
	entries, err := os.ReadDir(filepath.Dir(b.log))
	if err != nil {
		return err
	}
	var future []string // in their order, which is that of their names
	taken := map[string]bool{}
	for _, entry := range entries {
		stamp, ours := strings.CutPrefix(entry.Name(), prefix)
		stamp, ends := strings.CutSuffix(stamp, ext)
		at, err := time.Parse(auditBackupTime, stamp)
		if !ours || !ends || err != nil || entry.IsDir() {
			continue
		}
		taken[entry.Name()] = true
		if at.After(now) {
			future = append(future, entry.Name())
		}
	}
	at := now
	for i := len(future) - 1; i >= 0; i-- {
		name := ""
		for name == "" || taken[name] {
			at = at.Add(-time.Millisecond)
			name = prefix + at.UTC().Format(auditBackupTime) + ext
		}
		dir := filepath.Dir(b.log)
		if err := os.Rename(filepath.Join(dir, future[i]), filepath.Join(dir, name)); err != nil {
			return err
		}
		b.logger.Warn("a rotated audit log had a name from the future, and was renamed: the clock was wrong when it was written",
			zap.String("was", future[i]), zap.String("is", name))
	}
	return nil
}

// run corrects names until ctx ends.
func (b auditBackups) run(ctx context.Context) {
	ticker := time.NewTicker(auditClockInterval)
	defer ticker.Stop()
	for {
		if err := b.correct(time.Now()); err != nil {
			b.logger.Warn("the names of rotated audit logs cannot be checked", zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
