// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/kubembed/kubembed/internal/bench/hosts"
	"github.com/kubembed/kubembed/internal/bench/load"
	"github.com/kubembed/kubembed/internal/bench/process"
)

const (
	startName   = "start to first stored pod"
	stopName    = "stop, idle"
	memoryName  = "idle memory of the control plane, resident"
	privateName = "idle memory of the control plane, private"
)

var startSection = section{
	name: "start", title: "Start, stop, idle",
	about: "An empty, ephemeral control plane. A start lasts from the call of the library until a pod is stored, in the calling process. " +
		"Measured processes: for kubembed and the testserver the whole process, with the client in it; for envtest kube-apiserver and etcd, without the process that has started them, except where the row says so. " +
		"Private memory is heap and stacks (RssAnon); file pages are mostly those of the programs, which the kernel may drop, and other processes of the same program share. " +
		"A client in another process holds the watches. envtest stops waiting for kube-apiserver after 20 seconds, and kills it; the testserver, which takes a minute, is left out there. kubembed runs its controllers (namespaces, garbage collection, service accounts, certificates), except in the side without controllers. The other sides have none.",
	sides:   []string{own, envtest, inOne, bare},
	ratios:  [][2]string{{own, envtest}, {own, inOne}},
	summary: []string{startName, privateName, stopName},
	measure: func(m *measurement) error {
		err := m.with("", func(s *server) error {
			m.addTime(startName, s.Started)
			m.addTime("the same, from the start of the program", s.Exec)
			if err := s.idle(); err != nil {
				return err
			}
			return s.stop(stopName)
		})
		if err != nil || m.sizes.Watches == 0 || m.side == inOne {
			return err
		}
		return m.with("", func(s *server) error {
			watches, err := s.client.OpenWatches(m.ctx, "", m.sizes.Watches)
			if err != nil {
				return err
			}
			defer watches.Close()
			return s.stop(fmt.Sprintf("stop, %d watches open", m.sizes.Watches))
		})
	},
}

func (s *server) stop(name string) error {
	answer, err := s.Do(hosts.Command{Do: hosts.Stop})
	s.addTime(name, answer.Took)
	if err != nil && s.side == envtest && strings.Contains(err.Error(), envtestGivesUp) {
		return nil
	}
	return err
}

// envtestGivesUp is envtest's error after it has waited for 20 seconds and killed
// kube-apiserver. The stop takes that long.
const envtestGivesUp = "timeout waiting for process kube-apiserver to stop"

func (s *server) idle() error {
	servers, all, err := s.settled()
	if err != nil {
		return err
	}
	s.addBytes(memoryName, servers.Resident)
	s.addBytes("the same, proportional set size", servers.Proportional)
	s.addBytes(privateName, servers.Private)
	s.addBytes("the same, file pages", servers.File)
	s.addBytes("idle memory with the process that started it, resident", all.Resident)
	s.addBytes("idle memory with the process that started it, private", all.Private)
	_, pids, err := s.Processes()
	if err != nil {
		return err
	}
	return s.idleCPU("idle CPU", pids, s.sizes.Idle)
}

// idleCPU measures the CPU that processes use for a while.
func (m *measurement) idleCPU(name string, pids []int, idle time.Duration) error {
	before, err := process.CPU(pids)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := m.sleep(idle); err != nil {
		return err
	}
	after, err := process.CPU(pids)
	m.add(name, "ms/s", float64((after-before).Milliseconds())/time.Since(began).Seconds())
	return err
}

var restartSection = section{
	name: "restart", title: "Start on a directory with pods",
	about:   "As above, on the directory of a stopped control plane, durable on both sides. The directory is filled once for each side.",
	sides:   []string{durableOwn, separate},
	ratios:  [][2]string{{durableOwn, separate}},
	measure: restart,
}

func restart(m *measurement) error {
	dir := filepath.Join(m.paths.Work, "directory-of-"+m.side+m.paths.Suffix)
	filled := dir + ".filled"
	if _, err := os.Stat(filled); err != nil {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
		err := m.with(dir, func(s *server) error {
			if _, err := s.do(load.Spec{Work: "create", Namespace: "directory", Clients: 16, Objects: m.sizes.Directory}); err != nil {
				return err
			}
			_, err := s.Do(hosts.Command{Do: hosts.Stop})
			return err
		})
		if err != nil {
			return err
		}
		if err := os.WriteFile(filled, nil, 0o600); err != nil {
			return err
		}
	}
	return m.with(dir, func(s *server) error {
		m.addTime(fmt.Sprintf("%s, %d pods there", startName, m.sizes.Directory), s.Started)
		m.addTime("the same, from the start of the program", s.Exec)
		return s.stop(fmt.Sprintf("stop, idle, %d pods there", m.sizes.Directory))
	})
}

func tempDir(parent, pattern string) (dir string, remove func(), err error) {
	dir, err = os.MkdirTemp(parent, pattern)
	return dir, func() { _ = os.RemoveAll(dir) }, err
}
