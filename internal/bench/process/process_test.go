// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package process

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	// The name contains a space and a parenthesis.
	line := "42 (a) b) S 7 42 42 0 -1 4194560 1 2 3 4 100 50 20 5 20 0 9 0 1234 99999999 321 18446744073709551615 1 1"
	s, err := parseStat([]byte(line))
	if err != nil {
		t.Fatal(err)
	}
	if want := (stat{parent: 7, cpu: 1750 * time.Millisecond, pages: 321}); s != want {
		t.Errorf("got %+v, want %+v", s, want)
	}
	for _, bad := range []string{"", "42 (a) S 7", "42 (a) S x 42 42 0 -1 4194560 1 2 3 4 100 50 20 5 20 0 9 0 1234 99999999 321 1 1"} {
		if s, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q: got %+v, want an error", bad, s)
		}
	}
}

func TestParseSizes(t *testing.T) {
	const text = "Name:\tbench\n55d0-7ffc ---p 00000000 00:00 0    [rollup]\nRss:                1792 kB\nPss:                 263 kB\nPss_Dirty:           100 kB\n"
	sizes, err := parseSizes([]byte(text), "Rss", "Pss")
	if err != nil {
		t.Fatal(err)
	}
	if sizes["Rss"] != 1792<<10 || sizes["Pss"] != 263<<10 {
		t.Errorf("got %v, want Rss and Pss of %q", sizes, text)
	}
	for _, bad := range []string{"", "Rss: 12 kB\n", "Rss: x kB\nPss: 1 kB\n"} {
		if sizes, err := parseSizes([]byte(bad), "Rss", "Pss"); err == nil {
			t.Errorf("%q: got %v, want an error", bad, sizes)
		}
	}
}

func TestTreeHasChildren(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc")
	}
	child := exec.Command("sleep", "60")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = child.Process.Kill()
		_ = child.Wait()
	}()
	pids, err := Tree(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if pids[0] != os.Getpid() || !slices.Contains(pids, child.Process.Pid) {
		t.Errorf("tree of %d and its child %d: got %d", os.Getpid(), child.Process.Pid, pids)
	}
	all, err := MemoryOf(pids)
	if err != nil {
		t.Fatal(err)
	}
	own, err := MemoryOf(pids[:1])
	if err != nil {
		t.Fatal(err)
	}
	if own.Resident <= 0 || own.Resident >= all.Resident || own.Proportional > own.Resident {
		t.Errorf("got %+v of the process, %+v of all", own, all)
	}
	if own.Private <= 0 || own.File <= 0 || own.Private >= all.Private {
		t.Errorf("got %+v of the process, %+v of all", own, all)
	}
	if _, err := CPU(pids); err != nil {
		t.Error(err)
	}
	if _, err := CPU([]int{1 << 30}); err == nil {
		t.Error("got CPU of a process that does not exist")
	}
}

// TestAdopt: a process whose parent has ended is a child of this one, which gets its CPU
// time.
func TestAdopt(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs Linux")
	}
	if err := Adopt(); err != nil {
		t.Fatal(err)
	}
	// The shell does not wait for the loop.
	parent := exec.Command("sh", "-c", "(read line; i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done) <&3 &")
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	parent.ExtraFiles = []*os.File{read}
	if err := errors.Join(parent.Run(), read.Close()); err != nil {
		t.Fatal(err)
	}
	memory, err := ResidentBelow(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if err := write.Close(); err != nil {
		t.Fatal(err)
	}
	cpu, err := Wait()
	if err != nil {
		t.Fatal(err)
	}
	if memory <= 0 || cpu <= 0 {
		t.Errorf("got %d bytes and %s CPU time of the adopted process", memory, cpu)
	}
	if left, err := Tree(os.Getpid()); err != nil || len(left) != 1 {
		t.Errorf("processes are left: %d, %v", left, err)
	}
}
