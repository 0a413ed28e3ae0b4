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
}

// MemoryOf sums up proc_pid_smaps_rollup(5).
func MemoryOf(pids []int) (Memory, error) {
	var sum Memory
	for _, pid := range pids {
		file := fmt.Sprintf("/proc/%d/smaps_rollup", pid)
		data, err := os.ReadFile(file)
		if err != nil {
			return Memory{}, err
		}
		m, err := parseRollup(data)
		if err != nil {
			return Memory{}, fmt.Errorf("%s: %w", file, err)
		}
		sum.Resident += m.Resident
		sum.Proportional += m.Proportional
	}
	return sum, nil
}

// parseRollup reads lines like "Rss:    1234 kB".
func parseRollup(data []byte) (Memory, error) {
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
			return Memory{}, fmt.Errorf("%q is not a number", lines.Text())
		}
		found[name] = kB << 10
	}
	for _, name := range []string{"Rss", "Pss"} {
		if _, ok := found[name]; !ok {
			return Memory{}, fmt.Errorf("has no %s", name)
		}
	}
	return Memory{found["Rss"], found["Pss"]}, lines.Err()
}
