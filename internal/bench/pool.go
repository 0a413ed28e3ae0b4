// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"time"

	"github.com/kubembed/kubembed/internal/bench/process"
)

// maxSocketDir bounds the paths in which the pool has its sockets. With a longer TMPDIR
// it uses /tmp, for all measurements.
const maxSocketDir = 60

// withPool calls measure with an environment in which tests find the program
// controlplanes. It does not run yet, and is stopped at the end in any case. Its
// directory belongs to the measurement, so that no program of another one is met.
func (m *measurement) withPool(measure func() error) (err error) {
	dir, remove, err := m.directory("p-")
	if err != nil {
		return err
	}
	defer remove()
	if len(dir) > maxSocketDir {
		return fmt.Errorf("the path of %s is too long for sockets: set TMPDIR to a shorter one", dir)
	}
	if err := errors.Join(
		process.Adopt(), // The program outlives the tests that start it.
		os.Setenv("TMPDIR", dir),
		os.Setenv("KUBEMBED_CONTROLPLANES", m.paths.program(poolProgram)),
		os.Setenv("BENCH_POOL", "1"),
	); err != nil {
		return err
	}
	defer func() {
		_, stopErr := m.stopPool()
		err = errors.Join(err, stopErr)
	}()
	return measure()
}

// stopPool stops the program, and returns the CPU that it has used.
func (m *measurement) stopPool() (time.Duration, error) {
	if _, err := output(exec.Command(m.paths.program(poolProgram), "stop")); err != nil {
		return 0, err
	}
	return process.Wait()
}

// withPrograms calls measure with what the tests of the side need beside their binary.
// stop ends it, and returns the CPU that it has used, if that is in none of the tests'.
func (m *measurement) withPrograms(measure func(stop func() (time.Duration, error)) error) error {
	switch m.side {
	case pooled:
		return m.withPool(func() error { return measure(m.stopPool) })
	case programs:
		if err := os.Setenv("KUBEBUILDER_ASSETS", m.paths.program(ownPrograms)); err != nil {
			return err
		}
	}
	return measure(func() (time.Duration, error) { return 0, nil })
}

const (
	// news is the number of calls of New that are measured.
	news     = 200
	newP50   = "New: p50"
	newP99   = "New: p99"
	newFirst = "the first New, the program is built and does not run"
)

var poolSection = section{
	name: "pool", title: "New from the pool",
	about: fmt.Sprintf("The time of New in tests that follow each other in one process, %d of them. Each test creates an object. "+
		"The first test of a user starts the program, whose path is in an environment variable; that is measured in a process with one test. "+
		"The first test of a later process finds control planes ready.", news),
	sides: []string{pooled},
	measure: func(m *measurement) error {
		return m.withPool(func() error {
			first, err := m.news(1)
			if err != nil {
				return err
			}
			m.addTime(newFirst, first[0])
			took, err := m.news(news)
			if err != nil {
				return err
			}
			m.addTime("the first New of a process, the program runs", took[0])
			slices.Sort(took)
			m.addTime(newP50, took[len(took)/2])
			m.addTime(newP99, took[len(took)*99/100])
			return m.idlePool()
		})
	},
}

// news returns the durations of calls of New in one process.
func (m *measurement) news(n int) (took []time.Duration, err error) {
	if err := m.testInto(&took, "TestNew", fmt.Sprint("-news=", n)); err != nil {
		return nil, err
	}
	if len(took) != n {
		return nil, fmt.Errorf("TestNew has measured %d durations, want %d", len(took), n)
	}
	return took, nil
}

// idlePool measures the program without tests.
func (m *measurement) idlePool() error {
	// It ends after 30 seconds.
	idle := min(m.sizes.Idle, 10*time.Second)
	if err := m.sleep(idle / 2); err != nil {
		return err
	}
	all, err := process.Tree(os.Getpid())
	if err != nil {
		return err
	}
	pids := all[1:]
	memory, err := process.MemoryOf(pids)
	if err != nil {
		return err
	}
	m.addBytes("memory of the program without tests, resident", memory.Resident)
	return m.idleCPU("CPU of the program without tests", pids, idle)
}
