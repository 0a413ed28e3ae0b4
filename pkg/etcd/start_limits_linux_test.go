// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package etcd_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/kubembed/kubembed/pkg/etcd"
)

// limits are limits of a process, and the texts in the error of a failed start.
var limits = map[string]struct {
	resource int
	value    uint64
	want     []string
}{
	"address space":    {unix.RLIMIT_AS, 8e9, []string{"RLIMIT_AS", "8000000000", "9663676416", "ulimit -v"}},
	"size of a file":   {unix.RLIMIT_FSIZE, 20e6, []string{"RLIMIT_FSIZE", "20000000", "9448928051", "ulimit -f"}},
	"24 open files":    {unix.RLIMIT_NOFILE, 24, []string{"RLIMIT_NOFILE", "is 24", "ulimit -n"}},
	"32 open files":    {unix.RLIMIT_NOFILE, 32, []string{"RLIMIT_NOFILE", "is 32", "ulimit -n"}},
	"enough of either": {unix.RLIMIT_AS, 20e9, nil},
}

// TestLimitsOfTheProcess: a start that exceeds a limit returns an error that names it,
// and leaves nothing behind.
func TestLimitsOfTheProcess(t *testing.T) {
	for name, limit := range limits {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			_, line := child(t, "limited", name+"@"+dir)
			said, ok := strings.CutPrefix(line, "refused: ")
			if ok != (len(limit.want) > 0) {
				t.Fatal(line)
			}
			for _, part := range limit.want {
				if !strings.Contains(said, part) {
					t.Errorf("%q is missing in: %s", part, said)
				}
			}
			if _, err := os.Stat(dir); ok && err == nil {
				t.Error("the directory is left")
			}
		})
	}
}

// limited starts a member under a limit, and prints the result.
func limited(arg string) error {
	name, dir, _ := strings.Cut(arg, "@")
	limit := limits[name]
	before := goleak.IgnoreCurrent()
	if err := unix.Setrlimit(limit.resource, &unix.Rlimit{Cur: limit.value, Max: limit.value}); err != nil {
		return err
	}
	m, err := etcd.Start(context.Background(), etcd.Config{Dir: dir, Ephemeral: true})
	if err != nil {
		if leaks := goleak.Find(append(ignoredGoroutines, before)...); leaks != nil {
			return leaks
		}
		fmt.Println("refused:", err)
		return nil
	}
	fmt.Println("started")
	return errors.Join(m.Close(), os.RemoveAll(dir))
}

// TestMappedBytes compares the address space that a start requires with the space that
// etcd maps.
func TestMappedBytes(t *testing.T) {
	for quota, want := range map[int64]uint64{0: 9 << 30, 100 << 20: 128 << 20, 3 << 30: 4 << 30, 2 << 30: 10 << 30} {
		m := start(t, etcd.Config{Dir: t.TempDir(), Ephemeral: true, QuotaBytes: quota})
		if got := mappedFile(t, "/member/snap/db"); got != want || uint64(etcd.MappedBytes(quota)) != want {
			t.Errorf("quota %d: etcd maps %d bytes, a start requires %d, want %d", quota, got, etcd.MappedBytes(quota), want)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
}

// mappedFile returns the mapped address space of the file with that suffix.
func mappedFile(t *testing.T, suffix string) (bytes uint64) {
	t.Helper()
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = maps.Close() }()
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		if !strings.HasSuffix(lines.Text(), suffix) {
			continue
		}
		from, to, _ := strings.Cut(strings.Fields(lines.Text())[0], "-")
		first, err := strconv.ParseUint(from, 16, 64)
		last, err2 := strconv.ParseUint(to, 16, 64)
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		bytes += last - first
	}
	return bytes
}
