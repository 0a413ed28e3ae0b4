// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package process

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Memory is the memory of several processes together, in bytes.
type Memory struct {
	// Resident counts a page once for each process that maps it.
	Resident int64
	// Proportional counts a shared page once. Processes outside of the group may share it
	// too.
	Proportional int64
	// Private is the part of Resident that no file backs: heap and stacks. The kernel
	// cannot drop it (RssAnon).
	Private int64
	// File is the part of Resident that files back, mostly pages of the programs (RssFile
	// and RssShmem).
	File int64
}

// MemoryOf sums up proc_pid_smaps_rollup(5) and proc_pid_status(5).
func MemoryOf(pids []int) (Memory, error) {
	var sum Memory
	for _, pid := range pids {
		rollup, err := readSizes(fmt.Sprintf("/proc/%d/smaps_rollup", pid), "Rss", "Pss")
		if err != nil {
			return Memory{}, err
		}
		status, err := readSizes(fmt.Sprintf("/proc/%d/status", pid), "RssAnon", "RssFile", "RssShmem")
		if err != nil {
			return Memory{}, err
		}
		sum.Resident += rollup["Rss"]
		sum.Proportional += rollup["Pss"]
		sum.Private += status["RssAnon"]
		sum.File += status["RssFile"] + status["RssShmem"]
	}
	return sum, nil
}

// readSizes reads the named sizes of a file.
func readSizes(file string, names ...string) (map[string]int64, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	sizes, err := parseSizes(data, names...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return sizes, nil
}

// parseSizes reads lines like "Rss:    1234 kB". All names must be there.
func parseSizes(data []byte, names ...string) (map[string]int64, error) {
	found := map[string]int64{}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		name, value, ok := strings.Cut(lines.Text(), ":")
		value, inKB := strings.CutSuffix(strings.TrimSpace(value), " kB")
		if !ok || !inKB {
			continue
		}
		kB, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%q is not a number", lines.Text())
		}
		found[name] = kB << 10
	}
	for _, name := range names {
		if _, ok := found[name]; !ok {
			return nil, fmt.Errorf("has no %s", name)
		}
	}
	return found, lines.Err()
}
