// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kubembed/kubembed/internal/bench/hosts"
	"github.com/kubembed/kubembed/internal/bench/load"
	"github.com/kubembed/kubembed/internal/bench/process"
)

const (
	mebibyte = 1 << 20
	kibibyte = 1 << 10
)

// metric is one figure of one run.
type metric struct {
	Name  string
	Unit  string
	Value float64
}

// measurement is one run of one side.
type measurement struct {
	ctx     context.Context
	side    string
	sizes   sizes
	paths   paths
	metrics []metric
}

func (m *measurement) add(name, unit string, value float64) {
	m.metrics = append(m.metrics, metric{name, unit, value})
}

func (m *measurement) addTime(name string, d time.Duration) {
	m.add(name, "ms", float64(d)/float64(time.Millisecond))
}

func (m *measurement) addBytes(name string, bytes int64) {
	m.add(name, "MiB", float64(bytes)/mebibyte)
}

// server is the control plane of a side and a client of it.
type server struct {
	*hosts.Host
	*measurement
	client *load.Client // in this process, over TLS
}

// with starts the control plane of the side for measure, and stops it in any case. It has
// a directory or, if dir is empty, no fsync.
func (m *measurement) with(dir string, measure func(*server) error) error {
	var program string
	var args []string
	switch m.side {
	case own, inProcess, durableOwn, bare:
		program = ownHost
		if m.side == bare {
			args = append(args, "-no-controllers")
		}
	case tuned, tunedInProcess:
		program = ownHost
		args = append(args, "-gc-percent=400")
	case envtest, separate:
		program = envtestHost
	case inOne:
		program = testserver
	default:
		return fmt.Errorf("unknown side %q", m.side)
	}
	if dir != "" {
		args = append(args, "-dir", dir)
	}
	return m.withHost(measure, program, args...)
}

// withHost is with, for a host program.
func (m *measurement) withHost(measure func(*server) error, program string, args ...string) (err error) {
	host, err := hosts.Start(m.ctx, m.paths.Work, m.paths.program(program), args...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, host.Close()) }()
	s := &server{Host: host, measurement: m}
	config, err := host.Config()
	if err != nil {
		return err
	}
	if s.client, err = load.New(config); err != nil {
		return err
	}
	return measure(s)
}

// done is completed work, and the CPU that the servers used for it. In-process, that
// includes the client's CPU.
type done struct {
	load.Result
	cpu time.Duration
}

// perRequest returns the CPU per request.
func (d done) perRequest() time.Duration { return d.cpu / time.Duration(max(d.Count, 1)) }

// do lets the client of the side do the work.
func (s *server) do(spec load.Spec) (d done, err error) {
	_, servers, err := s.Processes()
	if err != nil {
		return d, err
	}
	before, err := process.CPU(servers)
	if err != nil {
		return d, err
	}
	if s.side == inProcess || s.side == tunedInProcess {
		var a hosts.Answer
		a, err = s.Do(hosts.Command{Do: hosts.Load, Load: spec})
		d.Result = a.Load
	} else {
		d.Result, err = s.client.Do(s.ctx, spec)
	}
	if err != nil {
		return d, err
	}
	after, err := process.CPU(servers)
	d.cpu = after - before
	return d, err
}

// settled returns the memory after a pause, of the servers and of all processes.
func (s *server) settled() (servers, all process.Memory, err error) {
	if err := s.sleep(s.sizes.Idle / 2); err != nil {
		return servers, all, err
	}
	allPIDs, serverPIDs, err := s.Processes()
	if err != nil {
		return servers, all, err
	}
	if servers, err = process.MemoryOf(serverPIDs); err != nil {
		return servers, all, err
	}
	all, err = process.MemoryOf(allPIDs)
	return servers, all, err
}

// sleep lets time pass for a measurement.
func (m *measurement) sleep(d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-m.ctx.Done():
		return m.ctx.Err()
	}
}

// directory returns a new directory on the disk of the temporary directory.
func (m *measurement) directory(pattern string) (dir string, remove func(), err error) {
	return tempDir(m.paths.Work, pattern)
}
