// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os/exec"
	"time"

	"github.com/kubembed/kubembed/internal/bench/process"
)

var testsSection = section{
	name: "tests", title: "A package of 20 tests",
	about: "The time from the start of the test binary to its end. Each test installs a CRD, creates ten custom resources, and runs a manager of controller-runtime until its controller has reconciled them. " +
		"Each of our tests has its own control plane. envtest's tests share one, with the CRDs installed by the tests or before them.",
	sides:  []string{own, envtest, installed},
	ratios: [][2]string{{own, envtest}, {own, installed}},
	measure: func(m *measurement) error {
		name := "TestPackage"
		if m.side == installed {
			name = "TestInstalledOnce"
		}
		r, err := m.test(name)
		if err != nil {
			return err
		}
		m.add("wall time", "s", r.wall.Seconds())
		m.add("CPU time", "s", r.cpu.Seconds())
		m.addBytes("peak memory", r.peak)
		return nil
	},
}

// testRun is one run of a test binary.
type testRun struct {
	wall, cpu time.Duration
	peak      int64 // resident bytes, of all processes together
}

// test runs a test of the side's test binary, and fails if the test fails.
func (m *measurement) test(name string, args ...string) (testRun, error) {
	program := envTests
	if m.side == own {
		program = ownTests
	}
	cmd := exec.Command(m.paths.program(program), append(args, "-test.run=^"+name+"$", "-test.v", "-test.timeout=20m")...)
	cmd.Dir = m.paths.Work
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return testRun{}, err
	}
	ended, peak := make(chan struct{}), make(chan int64)
	go func() { peak <- peakMemory(cmd.Process.Pid, ended) }()
	err := cmd.Wait()
	elapsed := time.Since(began)
	close(ended)
	r := testRun{wall: elapsed, cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), peak: <-peak}
	if err != nil {
		return testRun{}, fmt.Errorf("%s: %w\n%s", cmd, err, log.Bytes())
	}
	return r, nil
}

func peakMemory(pid int, ended <-chan struct{}) int64 {
	var peak int64
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return peak
		case <-tick.C:
			// The process may have just ended.
			if memory, err := process.Resident(pid); err == nil {
				peak = max(peak, memory)
			}
		}
	}
}
