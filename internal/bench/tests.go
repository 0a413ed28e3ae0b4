// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/kubembed/kubembed/internal/bench/process"
	"github.com/kubembed/kubembed/internal/bench/work"
)

var testsSection = section{
	name: "tests", title: "A package of 20 tests",
	about: "The time from the start of the test binary to its end. Each test installs a CRD, creates ten custom resources, and runs a manager of controller-runtime until its controller has reconciled them. " +
		"Each of our tests has its own control plane. envtest's tests share one, with the CRDs installed by the tests or before them. " +
		"As many tests run at once as there are cores, and then all of them (-parallel). " +
		"The program that gives control planes from the pool does not run before, and is stopped after the tests; memory and CPU time include its.",
	sides:  []string{own, envtest, installed, pooled},
	ratios: [][2]string{{own, envtest}, {own, installed}, {pooled, own}, {pooled, envtest}},
	measure: func(m *measurement) error {
		return m.withPrograms(func(stop func() (time.Duration, error)) error {
			name := "TestPackage"
			if m.side == installed {
				name = "TestInstalledOnce"
			}
			if err := m.testPackage("", stop, name); err != nil {
				return err
			}
			if m.side != own && m.side != pooled {
				return nil
			}
			return m.testPackage(allAtOnce, stop, name, fmt.Sprint("-test.parallel=", work.Tests))
		})
	},
}

const (
	allAtOnce = "all at once: "
	testsWall = "wall time"
	testsPeak = "peak memory"
)

func (m *measurement) testPackage(what string, stop func() (time.Duration, error), name string, args ...string) error {
	r, err := m.test(name, args...)
	if err != nil {
		return err
	}
	more, err := stop()
	m.add(what+testsWall, "s", r.wall.Seconds())
	m.add(what+"CPU time", "s", (r.cpu + more).Seconds())
	m.addBytes(what+testsPeak, r.peak)
	return err
}

// testRun is one run of a test binary.
type testRun struct {
	wall, cpu time.Duration
	peak      int64 // resident bytes, of all processes together
}

// testInto is test for a test that writes a result, which it decodes.
func (m *measurement) testInto(result any, name string, args ...string) error {
	dir, remove, err := m.directory("result-")
	if err != nil {
		return err
	}
	defer remove()
	file := filepath.Join(dir, "result.json")
	if _, err := m.test(name, append(args, "-result="+file)...); err != nil {
		return err
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, result)
}

// test runs a test of the side's test binary, and fails if the test fails.
func (m *measurement) test(name string, args ...string) (testRun, error) {
	program := envTests
	switch m.side {
	case own:
		program = ownTests
	case pooled:
		program = poolTests
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
	go func() { peak <- peakMemory(ended) }()
	err := cmd.Wait()
	elapsed := time.Since(began)
	close(ended)
	r := testRun{wall: elapsed, cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), peak: <-peak}
	if err != nil {
		return testRun{}, fmt.Errorf("%s: %w\n%s", cmd, err, log.Bytes())
	}
	return r, nil
}

// peakMemory returns the most memory of all processes that this one has started, or
// adopted.
func peakMemory(ended <-chan struct{}) int64 {
	var peak int64
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return peak
		case <-tick.C:
			// The process may have just ended.
			if memory, err := process.ResidentBelow(os.Getpid()); err == nil {
				peak = max(peak, memory)
			}
		}
	}
}
