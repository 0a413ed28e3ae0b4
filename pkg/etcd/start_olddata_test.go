// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package etcd_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coreos/go-semver/semver"
	"go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/version"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/kubembed/kubembed/internal/olddata"
	"github.com/kubembed/kubembed/pkg/etcd"
)

// oldDirs calls f for each named data directory of each earlier release.
func oldDirs(t *testing.T, names []string, f func(t *testing.T, dir string, record *olddata.Record)) {
	releases, err := olddata.Releases()
	if err != nil {
		t.Fatal(err)
	}
	if len(releases) == 0 {
		t.Fatal("there is no earlier release")
	}
	for _, release := range releases {
		for _, name := range names {
			t.Run(release+"/"+name, func(t *testing.T) {
				t.Parallel()
				dir, record := oldDir(t, release, name)
				f(t, dir, record)
			})
		}
	}
}

func oldDir(t *testing.T, release, name string) (string, *olddata.Record) {
	t.Helper()
	dir := t.TempDir()
	record, err := olddata.Unpack(dir, release, name)
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, olddata.DataDir, "etcd"), record
}

// wantOld fails unless the member has all data of the earlier release.
func wantOld(t *testing.T, m *etcd.Member, record *olddata.Record) {
	t.Helper()
	got, err := m.Client().Get(t.Context(), "\x00", clientv3.WithFromKey())
	if err != nil {
		t.Fatal(err)
	}
	if got.Header.Revision != record.Revision {
		t.Errorf("got revision %d, want %d", got.Header.Revision, record.Revision)
	}
	is := map[string]olddata.Key{}
	for _, key := range olddata.Keys(got.Kvs) {
		is[key.Key] = key
	}
	for _, was := range record.Keys {
		if is[was.Key] != was {
			t.Errorf("got %+v, want %+v", is[was.Key], was)
		}
	}
	if len(is) != len(record.Keys) {
		t.Errorf("got %d keys, want %d", len(is), len(record.Keys))
	}
}

// minor is the version of this etcd in a data directory.
func minor(t testing.TB) string {
	t.Helper()
	v := semver.New(version.Version)
	return semver.Version{Major: v.Major, Minor: v.Minor}.String()
}

// upgraded waits until etcd has upgraded the versions in the database to want.
func upgraded(ctx context.Context, m *etcd.Member, want string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for tick := time.Tick(5 * time.Millisecond); ; {
		cluster, storage := m.Versions()
		if cluster == want && storage == want {
			return nil
		}
		select {
		case <-tick:
		case <-ctx.Done():
			return fmt.Errorf("cluster version %s and storage version %s do not become %s", cluster, storage, want)
		}
	}
}

// versionsOnDisk reads the versions in the database of a directory.
func versionsOnDisk(t *testing.T, dir string) (cluster, storage string) {
	t.Helper()
	db, err := bbolt.Open(filepath.Join(dir, "member", "snap", "db"), 0o600, &bbolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.View(func(tx *bbolt.Tx) error {
		cluster = string(tx.Bucket([]byte("cluster")).Get([]byte("clusterVersion")))
		storage = string(tx.Bucket([]byte("meta")).Get([]byte("storageVersion")))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return cluster, storage
}

// TestOldData: a data directory of an earlier release can be opened, is complete, and is
// upgraded, however long it is open.
func TestOldData(t *testing.T) {
	oldDirs(t, []string{olddata.Stopped, olddata.Encrypted}, func(t *testing.T, dir string, record *olddata.Record) {
		before, _ := versionsOnDisk(t, dir)
		m := start(t, etcd.Config{Dir: dir})
		wantOld(t, m, record)
		closeMember(t, m) // before etcd has upgraded it, perhaps
		cluster, storage := versionsOnDisk(t, dir)
		t.Logf("etcd %s, cluster version %s; open for a moment: cluster version %s, storage version %s", record.Etcd, before, cluster, storage)

		m = start(t, etcd.Config{Dir: dir})
		wantOld(t, m, record)
		if err := upgraded(t.Context(), m, minor(t)); err != nil {
			t.Fatal(err)
		}
		closeMember(t, m)
		if cluster, storage := versionsOnDisk(t, dir); cluster != minor(t) || storage != minor(t) {
			t.Errorf("on the disk: cluster version %s, storage version %s", cluster, storage)
		}

		m = start(t, etcd.Config{Dir: dir})
		wantOld(t, m, record)
		put(t, m.Client(), "new", "value")
		closeMember(t, m)
	})
}

// TestEtcdDowngrade: etcd downgrades by one minor version on request, and loses nothing.
// The older etcd can then open the directory.
func TestEtcdDowngrade(t *testing.T) {
	oldDirs(t, []string{olddata.Stopped}, func(t *testing.T, dir string, record *olddata.Record) {
		v := semver.New(version.Version)
		before := semver.Version{Major: v.Major, Minor: v.Minor - 1}.String()
		m := start(t, etcd.Config{Dir: dir})
		if err := upgraded(t.Context(), m, minor(t)); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Client().Downgrade(t.Context(), clientv3.DowngradeEnable, before); err != nil {
			t.Fatal(err)
		}
		if err := upgraded(t.Context(), m, before); err != nil {
			t.Fatal(err)
		}
		wantOld(t, m, record)
		closeMember(t, m)
		if cluster, storage := versionsOnDisk(t, dir); cluster != before || storage != before {
			t.Errorf("on the disk: cluster version %s, storage version %s", cluster, storage)
		}
		m = start(t, etcd.Config{Dir: dir}) // until the downgrade is cancelled
		wantOld(t, m, record)
		if _, err := m.Client().Downgrade(t.Context(), clientv3.DowngradeCancel, ""); err != nil {
			t.Fatal(err)
		}
		if err := upgraded(t.Context(), m, minor(t)); err != nil {
			t.Fatal(err)
		}
		closeMember(t, m)
	})
}

var killEvery = flag.Int("kill-every", 50, "TestOldDataKilled kills at each line that is a multiple of this; 1 is all")

// killAtEnv is the line of etcd's log at which the process is killed.
const killAtEnv = "KUBEMBED_ETCD_TEST_KILL_AT"

// upgrade opens a directory, waits until it is upgraded, and stops. It is killed when
// etcd writes a certain line of its log.
func upgrade(dir string) error {
	killAt, err := strconv.ParseInt(os.Getenv(killAtEnv), 10, 64)
	if err != nil {
		return err
	}
	var lines atomic.Int64
	core := zapcore.NewCore(zapcore.NewConsoleEncoder(zapcore.EncoderConfig{MessageKey: "msg"}), zapcore.AddSync(os.Stderr), zap.DebugLevel)
	log := zap.New(core, zap.Hooks(func(zapcore.Entry) error {
		if lines.Add(1) != killAt {
			return nil
		}
		self, err := os.FindProcess(os.Getpid())
		if err == nil {
			err = self.Kill()
		}
		if err != nil {
			return err
		}
		select {}
	}))
	ctx := context.Background()
	m, err := etcd.Start(ctx, etcd.Config{Dir: dir, Logger: log})
	if err != nil {
		return err
	}
	v := semver.New(version.Version)
	if err := upgraded(ctx, m, semver.Version{Major: v.Major, Minor: v.Minor}.String()); err != nil {
		return err
	}
	if err := m.Close(); err != nil {
		return err
	}
	fmt.Println("stopped")
	return nil
}

// upgradeKilledAt runs upgrade in a process of its own and returns the lines of its log.
// It is not killed if its log happens to be shorter.
func upgradeKilledAt(t *testing.T, dir string, line int) (lines []string, killed bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), helperEnv+"=upgrade "+dir, killAtEnv+"="+strconv.Itoa(line))
	log := &strings.Builder{}
	cmd.Stderr = log
	out, err := cmd.Output()
	lines = strings.Split(strings.TrimSpace(log.String()), "\n")
	killed = err != nil && len(out) == 0
	if !killed && (err != nil || line > 0 && len(lines) > line) || killed && line == 0 {
		t.Fatalf("killed at line %d of %d: %v, %s\n%s", line, len(lines), err, out, log)
	}
	return lines, killed
}

// killLines chooses the lines to kill at: the lines around each line about a version, and
// every nth of the others.
func killLines(lines []string, every int) (chosen []int) {
	for i := range lines {
		around := lines[max(0, i-2):min(len(lines), i+3)]
		if i%every == 0 || slices.ContainsFunc(around, func(line string) bool { return strings.Contains(line, "ersion") }) {
			chosen = append(chosen, i+1)
		}
	}
	return chosen
}

// TestOldDataKilled kills the process at lines of etcd's log, from the first line of the
// start over the upgrade to the last line of the stop. Nothing is lost.
func TestOldDataKilled(t *testing.T) {
	releases, err := olddata.Releases()
	if err != nil {
		t.Fatal(err)
	}
	for _, release := range releases {
		dir, _ := oldDir(t, release, olddata.Encrypted)
		lines, _ := upgradeKilledAt(t, dir, 0)
		chosen := killLines(lines, *killEvery)
		var kills atomic.Int64
		t.Cleanup(func() {
			t.Logf("%s: %d lines, killed at %d of %d", release, len(lines), kills.Load(), len(chosen))
			if int(kills.Load()) < len(chosen)*3/4 {
				t.Error("most were not killed")
			}
		})
		for _, line := range chosen {
			t.Run(fmt.Sprintf("%s/%d", release, line), func(t *testing.T) {
				t.Parallel()
				dir, record := oldDir(t, release, olddata.Encrypted)
				log, killed := upgradeKilledAt(t, dir, line)
				if killed {
					kills.Add(1)
				}
				t.Logf("killed: %v, at %.150q", killed, log[len(log)-1])
				m := start(t, etcd.Config{Dir: dir})
				wantOld(t, m, record)
				if err := upgraded(t.Context(), m, minor(t)); err != nil {
					t.Error(err)
				}
				closeMember(t, m)
			})
		}
	}
}
