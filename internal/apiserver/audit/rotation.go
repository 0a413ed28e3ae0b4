// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
)

const (
	// backupTime is the format of the time in the names of rotated files,
	// audit-TIME.log. It is lumberjack's.
	backupTime = "2006-01-02T15-04-05.000"
	// compressed is what lumberjack adds to the names of compressed files.
	compressed = ".gz"
	// clockInterval is the time between two checks of these names. A rotation in
	// between, after the clock was set back, may still delete the newest file.
	clockInterval = time.Minute
)

// Backups are the rotated files of the audit log. lumberjack keeps the files with the
// latest names. After a clock that was ahead has been corrected, it would delete each new
// file at once and keep the old ones.
type Backups struct {
	LogPath string
	Logger  *zap.Logger
}

// correct renames files with a time in the future to the last milliseconds before now,
// and keeps their order.
func (b Backups) correct(now time.Time) error {
	ext := filepath.Ext(b.LogPath)
	prefix := strings.TrimSuffix(filepath.Base(b.LogPath), ext) + "-"
	entries, err := os.ReadDir(filepath.Dir(b.LogPath))
	if err != nil {
		return err
	}
	var future []string // in the order of their names, which is that of their times
	taken := map[string]bool{}
	for _, entry := range entries {
		stamp, ours := strings.CutPrefix(entry.Name(), prefix)
		stamp, ends := strings.CutSuffix(strings.TrimSuffix(stamp, compressed), ext)
		at, err := time.Parse(backupTime, stamp)
		if !ours || !ends || err != nil || entry.IsDir() {
			continue
		}
		taken[strings.TrimSuffix(entry.Name(), compressed)] = true
		if at.After(now) {
			future = append(future, entry.Name())
		}
	}
	at := now
	for _, f := range slices.Backward(future) {
		name := ""
		for name == "" || taken[name] {
			at = at.Add(-time.Millisecond)
			name = prefix + at.UTC().Format(backupTime) + ext
		}
		if strings.HasSuffix(f, compressed) {
			name += compressed
		}
		dir := filepath.Dir(b.LogPath)
		if err := os.Rename(filepath.Join(dir, f), filepath.Join(dir, name)); err != nil {
			return err
		}
		b.Logger.Warn("a rotated audit log had a name from the future, and was renamed: the clock was wrong when it was written",
			zap.String("was", f), zap.String("is", name))
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
