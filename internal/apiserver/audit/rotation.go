package audit

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.uber.org/zap"
)

const (
	// backupTime is the format of the time in the names of rotated files,
	// audit-TIME.log. It is lumberjack's.
	backupTime = "2006-01-02T15-04-05.000"
	// clockInterval is how often these names are checked. A rotation in between,
	// after a clock was set back, may still delete the newest.
	clockInterval = time.Minute
)

// Backups are the files that were rotated from the audit log. lumberjack keeps those
// with the latest names. Where a clock was ahead and has been corrected, it would delete
// each new one at once and keep the old.
type Backups struct {
	LogPath string
	Logger  *zap.Logger
}

// correct renames files from the future to the last milliseconds before now, in their
// order.
func (b Backups) correct(now time.Time) error {
	ext := filepath.Ext(b.LogPath)
	prefix := strings.TrimSuffix(filepath.Base(b.LogPath), ext) + "-"
	entries, err := os.ReadDir(filepath.Dir(b.LogPath))
	if err != nil {
		return err
	}
	var future []string // in their order, which is that of their names
	taken := map[string]bool{}
	for _, entry := range entries {
		stamp, ours := strings.CutPrefix(entry.Name(), prefix)
		stamp, ends := strings.CutSuffix(stamp, ext)
		at, err := time.Parse(backupTime, stamp)
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
			name = prefix + at.UTC().Format(backupTime) + ext
		}
		dir := filepath.Dir(b.LogPath)
		if err := os.Rename(filepath.Join(dir, future[i]), filepath.Join(dir, name)); err != nil {
			return err
		}
		b.Logger.Warn("a rotated audit log had a name from the future, and was renamed: the clock was wrong when it was written",
			zap.String("was", future[i]), zap.String("is", name))
	}
	return nil
}

// Run corrects names until ctx ends.
func (b Backups) Run(ctx context.Context) {
	ticker := time.NewTicker(clockInterval)
	defer ticker.Stop()
	for {
		if err := b.correct(time.Now()); err != nil {
			b.Logger.Warn("the names of rotated audit logs cannot be checked", zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
