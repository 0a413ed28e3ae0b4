// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package etcd_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"go.etcd.io/bbolt"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	"github.com/kubembed/kubembed/pkg/etcd"
)

func TestInUseInThisProcess(t *testing.T) {
	dir := t.TempDir()
	m := start(t, etcd.Config{Dir: dir, Ephemeral: true})
	_, err := etcd.Start(t.Context(), etcd.Config{Dir: dir})
	if !errors.Is(err, etcd.ErrInUse) || !strings.Contains(err.Error(), "Config.Dir") {
		t.Errorf("second start: %v", err)
	}
	put(t, m.Client(), "k", "v") // the first one still works
	closeMember(t, m)
	closeMember(t, start(t, etcd.Config{Dir: dir, Ephemeral: true}))
}

func TestInUseByAnotherProcess(t *testing.T) {
	dir := t.TempDir()
	cmd, line := child(t, "hold", dir)
	if line != "ready" {
		t.Fatal(line)
	}
	_, err := etcd.Start(t.Context(), etcd.Config{Dir: dir})
	if !errors.Is(err, etcd.ErrInUse) || !strings.Contains(err.Error(), fmt.Sprint("process ", cmd.Process.Pid)) {
		t.Errorf("start beside another process: %v", err)
	}

	// A killed process leaves no lock, and its acknowledged writes persist.
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	m := start(t, etcd.Config{Dir: dir})
	defer closeMember(t, m)
	if got := get(t, m.Client(), "k"); got != "acknowledged" {
		t.Errorf("after the kill: %q", got)
	}
}

// TestInUseByPlainEtcd: a plain etcd does not know the lock file.
func TestInUseByPlainEtcd(t *testing.T) {
	dir := t.TempDir()
	cfg := embed.NewConfig()
	cfg.Dir = dir
	cfg.ListenClientUrls, cfg.ListenPeerUrls = nil, nil
	nowhere := url.URL{Scheme: "http", Host: "127.0.0.1:0"}
	cfg.AdvertiseClientUrls, cfg.AdvertisePeerUrls = []url.URL{nowhere}, []url.URL{nowhere}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	foreign, err := embed.StartEtcd(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer foreign.Close()
	<-foreign.Server.ReadyNotify()
	before := list(t, dir)
	if _, err := etcd.Start(t.Context(), etcd.Config{Dir: dir}); !errors.Is(err, etcd.ErrInUse) {
		t.Errorf("start: %v", err)
	}
	if after := list(t, dir); !slices.Equal(before, after) {
		t.Errorf("before: %v\nafter: %v", before, after)
	}
}

func TestUnusableDir(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, []byte("x"))
	for _, dir := range []string{file, filepath.Join(file, "below")} {
		_, err := etcd.Start(t.Context(), etcd.Config{Dir: dir})
		if err == nil || !strings.Contains(err.Error(), "Config.Dir") || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

func TestReadOnlyDir(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root can write everywhere")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	_, err := etcd.Start(t.Context(), etcd.Config{Dir: dir})
	if !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), "Config.Dir") {
		t.Errorf("start: %v", err)
	}
}

// TestReadOnlyFileSystem: root can write everywhere but to a read-only file system.
func TestReadOnlyFileSystem(t *testing.T) {
	if runtime.GOOS != "linux" || os.Getuid() != 0 {
		t.Skip("only root on Linux can mount a directory a second time")
	}
	parent := t.TempDir()
	dir := filepath.Join(parent, "etcd")
	fill(t, dir)
	for _, args := range [][]string{{"--bind", parent, parent}, {"-o", "remount,bind,ro", parent}} {
		if out, err := exec.Command("mount", args...).CombinedOutput(); err != nil {
			t.Skipf("mount %s: %v: %s", args, err, out)
		}
		t.Cleanup(func() { _ = exec.Command("umount", parent).Run() })
	}
	for _, dir := range []string{dir, filepath.Join(parent, "new")} {
		_, err := etcd.Start(t.Context(), etcd.Config{Dir: dir})
		if !errors.Is(err, syscall.EROFS) || !strings.Contains(err.Error(), "Config.Dir") || !strings.Contains(err.Error(), dir) {
			t.Errorf("start: %v", err)
		}
	}
}

// TestDatabaseOfAnotherProgram: etcd would add its own buckets.
func TestDatabaseOfAnotherProgram(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "member", "snap"), 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "member", "snap", "db")
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucket([]byte("invoices"))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = etcd.Start(t.Context(), etcd.Config{Dir: dir})
	if !errors.Is(err, etcd.ErrCorrupt) || !strings.Contains(err.Error(), "invoices") {
		t.Errorf("start: %v", err)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the file has changed (%v)", err)
	}
}

func TestDamagedDirectory(t *testing.T) {
	noise := make([]byte, 8<<10)
	for i := range noise {
		noise[i] = byte(i*7 + 3)
	}
	for name, damage := range map[string]func(t *testing.T, db, walDir, walFile string){
		"database is noise":       func(t *testing.T, db, _, _ string) { write(t, db, noise) },
		"database is short":       func(t *testing.T, db, _, _ string) { truncate(t, db, 3*int64(os.Getpagesize())) },
		"database is very short":  func(t *testing.T, db, _, _ string) { truncate(t, db, 100) },
		"database is empty":       func(t *testing.T, db, _, _ string) { truncate(t, db, 0) },
		"database is missing":     func(t *testing.T, db, _, _ string) { remove(t, db) },
		"database pages are gone": func(t *testing.T, db, _, _ string) { overwrite(t, db, 2*int64(os.Getpagesize()), 0xff) },
		"database pages are zero": func(t *testing.T, db, _, _ string) { overwrite(t, db, 2*int64(os.Getpagesize()), 0) },
		// bbolt panics on this damage in a goroutine of its own.
		"database page twice":   func(t *testing.T, db, _, _ string) { doubleOverflow(t, db) },
		"log is missing":        func(t *testing.T, _, dir, _ string) { remove(t, dir) },
		"log file is missing":   func(t *testing.T, _, _, f string) { remove(t, f) },
		"log is noise":          func(t *testing.T, _, _, f string) { write(t, f, noise) },
		"log is empty":          func(t *testing.T, _, _, f string) { truncate(t, f, 0) },
		"log is short":          func(t *testing.T, _, _, f string) { truncate(t, f, 512) },
		"log end is zero":       func(t *testing.T, _, _, f string) { overwrite(t, f, 1024, 0) },
		"log is zero":           func(t *testing.T, _, _, f string) { overwrite(t, f, 0, 0) },
		"log middle is flipped": func(t *testing.T, _, _, f string) { flip(t, f, 2000) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			fill(t, dir)
			walDir := filepath.Join(dir, "member", "wal")
			files, err := filepath.Glob(filepath.Join(walDir, "*.wal"))
			if err != nil || len(files) != 1 {
				t.Fatal(files, err)
			}
			damage(t, filepath.Join(dir, "member", "snap", "db"), walDir, files[0])
			before := list(t, dir)
			for range 2 { // the first refusal must release everything
				_, err := etcd.Start(t.Context(), etcd.Config{Dir: dir})
				if !errors.Is(err, etcd.ErrCorrupt) || !strings.Contains(err.Error(), "backup") {
					t.Fatalf("start: %v", err)
				}
				t.Log(strings.SplitN(err.Error(), "\n", 2)[0])
			}
			if after := list(t, dir); !slices.Equal(before, after) {
				t.Errorf("before: %v\nafter: %v", before, after)
			}
		})
	}
}

// TestHalfMadeDirectory: a directory of a process that was killed in its first start is
// usable.
func TestHalfMadeDirectory(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "member", "snap"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "member", "snap", "db"), nil)
	m := start(t, etcd.Config{Dir: dir})
	put(t, m.Client(), "k", "v")
	closeMember(t, m)
}

func TestNewerVersion(t *testing.T) {
	for bucket, key := range map[string]string{"cluster": "clusterVersion", "meta": "storageVersion"} {
		t.Run(key, func(t *testing.T) {
			dir := t.TempDir()
			fill(t, dir)
			db, err := bbolt.Open(filepath.Join(dir, "member", "snap", "db"), 0o600, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := db.Update(func(tx *bbolt.Tx) error {
				return tx.Bucket([]byte(bucket)).Put([]byte(key), []byte("3.99.0"))
			}); err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			_, err = etcd.Start(t.Context(), etcd.Config{Dir: dir})
			if !errors.Is(err, etcd.ErrNewerVersion) || errors.Is(err, etcd.ErrCorrupt) || !strings.Contains(err.Error(), "3.99.0") {
				t.Errorf("start: %v", err)
			}
		})
	}
}

// newer leaves a directory as a newer etcd does that is killed soon after its start: its
// cluster version is in the log, and not yet in the database.
func newer(dir string) error {
	m, err := etcd.Start(context.Background(), etcd.Config{Dir: dir})
	if err != nil {
		return err
	}
	m.ProposeClusterVersion("3.99.0")
	<-m.Done()
	fmt.Println("failed:", m.Err())
	select {}
}

func TestNewerVersionInTheLog(t *testing.T) {
	dir := t.TempDir()
	cmd, line := child(t, "newer", dir)
	if !strings.HasPrefix(line, "failed:") || !strings.Contains(line, "3.99") {
		t.Fatal(line)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	_, err := etcd.Start(t.Context(), etcd.Config{Dir: dir})
	if !errors.Is(err, etcd.ErrNewerVersion) || errors.Is(err, etcd.ErrCorrupt) {
		t.Fatalf("start: %v", err)
	}
	for _, want := range []string{"Config.Dir", dir, "3.99.0", "use the newer version"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v: no %q", err, want)
		}
	}
}

// fill creates a directory with some data.
func fill(t *testing.T, dir string) {
	t.Helper()
	m := start(t, etcd.Config{Dir: dir, Ephemeral: true})
	for i := range 50 {
		put(t, m.Client(), fmt.Sprint("key", i), strings.Repeat("value", 100))
	}
	closeMember(t, m)
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func truncate(t *testing.T, path string, size int64) {
	t.Helper()
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

// overwrite sets 512 KiB from an offset, and keeps the file's size.
func overwrite(t *testing.T, path string, from int64, value byte) {
	t.Helper()
	edit(t, path, from, 512<<10, func(byte) byte { return value })
}

func flip(t *testing.T, path string, at int64) {
	t.Helper()
	edit(t, path, at, 1, func(b byte) byte { return ^b })
}

// doubleOverflow makes every leaf page claim the page that follows it.
func doubleOverflow(t *testing.T, path string) {
	t.Helper()
	size := int64(os.Getpagesize())
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := 2 * size; at < info.Size(); at += size {
		edit(t, path, at+12, 1, func(b byte) byte { return b + 1 })
	}
}

func edit(t *testing.T, path string, from, n int64, f func(byte) byte) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := from; i < min(from+n, int64(len(data))); i++ {
		data[i] = f(data[i])
	}
	write(t, path, data)
}
