// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package attack

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// usage are the maxima of the control plane's process.
type usage struct {
	memory      int // MiB
	descriptors int
	logLines    int
	logBytes    int64
}

// measure updates the maxima. The kernel keeps the maximum of the memory.
func (u *usage) measure(p *plane) {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	for line := range strings.Lines(string(status)) {
		var kilobytes int
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kilobytes); err == nil {
			u.memory = max(u.memory, kilobytes>>10)
		}
	}
	open, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	u.descriptors = max(u.descriptors, len(open))
	if info, err := os.Stat(filepath.Join(p.dir, "log")); err == nil {
		u.logBytes = info.Size()
	}
}

// countLog reads the log, and returns its most frequent messages.
func (u *usage) countLog(p *plane) map[string]int {
	data, _ := os.ReadFile(filepath.Join(p.dir, "log"))
	u.logLines = bytes.Count(data, []byte("\n"))
	messages := map[string]int{}
	for line := range bytes.Lines(data) {
		_, message, _ := bytes.Cut(line, []byte(`"msg":"`))
		messages[string(message[:min(len(message), 50)])]++
	}
	for message, n := range messages {
		if n < u.logLines/10 {
			delete(messages, message)
		}
	}
	return messages
}
