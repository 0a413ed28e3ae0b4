// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.uber.org/zap"
	"gopkg.in/natefinch/lumberjack.v2"
)

// TestAuditBackupsAfterAClockCorrection: lumberjack's new backups stay, and files of a
// time when the clock was ahead make room for them.
func TestAuditBackupsAfterAClockCorrection(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "audit.log")
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("audit-2025-01-01T00-00-00.000.log", "oldest")
	write("audit-2140-01-01T00-00-00.000.log", "future 1")
	write("audit-2140-01-02T00-00-00.000.log", "future 2")
	write("audit-2140-01-01T12-00-00.000.log.gz", "future and compressed")
	write("audit-mine.log", "another's")
	if err := (Backups{LogPath: log, Logger: zap.NewNop()}).correct(time.Now()); err != nil {
		t.Fatal(err)
	}
	l := &lumberjack.Logger{Filename: log, MaxSize: 1, MaxBackups: 3}
	file := LogFile{writer: l}
	if _, err := file.Write([]byte("newest")); err != nil {
		t.Fatal(err)
	}
	if err := l.Rotate(); err != nil {
		t.Fatal(err)
	}
	// A goroutine, which then ends, deletes the old files afterwards.
	if err := file.Close(); err != nil {
		t.Error(err)
	}
	if _, err := file.Write([]byte("late")); !errors.Is(err, os.ErrClosed) {
		t.Errorf("got error %v of a write after Close, want os.ErrClosed", err)
	}
	want := []string{"another's", "future 2", "future and compressed", "newest"}
	contents := func() (all []string) {
		entries, _ := os.ReadDir(dir)
		for _, entry := range entries {
			if data, _ := os.ReadFile(filepath.Join(dir, entry.Name())); len(data) > 0 {
				all = append(all, string(data))
			}
		}
		slices.Sort(all)
		return all
	}
	deadline := time.Now().Add(time.Minute)
	for !slices.Equal(contents(), want) {
		if time.Now().After(deadline) {
			t.Fatalf("there are %q, want %q", contents(), want)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
