// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package process reports the resource usage of running processes. It needs Linux.
package process

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of CPU times in /proc, the same on every architecture of Go.
const tick = time.Second / 100

// stat has the used fields of /proc/PID/stat.
type stat struct {
	parent int
	cpu    time.Duration // includes children that have ended
	pages  int64         // resident
}

// Tree returns pid and all its descendants, pid first.
func Tree(pid int) ([]int, error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	children := map[int][]int{}
	for _, file := range files {
		child, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			return nil, err
		}
		s, err := readStat(child)
		if errors.Is(err, os.ErrNotExist) {
			continue // It has ended.
		}
		if err != nil {
			return nil, err
		}
		children[s.parent] = append(children[s.parent], child)
	}
	pids := []int{pid}
	for i := 0; i < len(pids); i++ {
		pids = append(pids, children[pids[i]]...)
	}
	return pids, nil
}

// CPU returns the CPU time that the processes have used so far, including their children
// that have ended and been waited for.
func CPU(pids []int) (time.Duration, error) {
	var sum time.Duration
	for _, pid := range pids {
		s, err := readStat(pid)
		if err != nil {
			return 0, err
		}
		sum += s.cpu
	}
	return sum, nil
}

// Resident returns the resident bytes of a process and all its descendants. It is cheaper
// than MemoryOf, for frequent calls.
func Resident(pid int) (int64, error) {
	pids, err := Tree(pid)
	if err != nil {
		return 0, err
	}
	sum, err := resident(pids)
	if err == nil && sum == 0 {
		err = fmt.Errorf("/proc has no process %d", pid)
	}
	return sum, err
}

// ResidentBelow returns the resident bytes of all descendants of a process.
func ResidentBelow(pid int) (int64, error) {
	pids, err := Tree(pid)
	if err != nil {
		return 0, err
	}
	return resident(pids[1:])
}

func resident(pids []int) (sum int64, err error) {
	for _, pid := range pids {
		s, err := readStat(pid)
		if errors.Is(err, os.ErrNotExist) {
			continue // It has ended.
		}
		if err != nil {
			return 0, err
		}
		sum += s.pages * int64(os.Getpagesize())
	}
	return sum, nil
}

func readStat(pid int) (stat, error) {
	file := fmt.Sprintf("/proc/%d/stat", pid)
	data, err := os.ReadFile(file)
	if err != nil {
		// The file of a process that is ending cannot be read.
		return stat{}, fmt.Errorf("%s: %w", file, errors.Join(os.ErrNotExist, err))
	}
	s, err := parseStat(data)
	if err != nil {
		return stat{}, fmt.Errorf("%s: %w", file, err)
	}
	return s, nil
}

// parseStat reads proc_pid_stat(5): PID (NAME) STATE PPID ..., with fields counted from
// 1. It uses 4 (ppid), 14 to 17 (utime, stime, cutime, cstime) and 24 (rss).
func parseStat(data []byte) (stat, error) {
	// A name may contain anything.
	end := bytes.LastIndexByte(data, ')')
	fields := strings.Fields(string(data[end+1:]))
	if end < 0 || len(fields) < 22 {
		return stat{}, errors.New("unexpected format")
	}
	number := func(field int) int64 {
		n, err := strconv.ParseInt(fields[field-3], 10, 64)
		if err != nil {
			return -1
		}
		return n
	}
	s := stat{parent: int(number(4)), pages: number(24)}
	for field := 14; field <= 17; field++ {
		s.cpu += time.Duration(number(field)) * tick
	}
	if s.parent < 0 || s.pages < 0 || s.cpu < 0 {
		return stat{}, errors.New("has a field that is not a number")
	}
	return s, nil
}
