// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"

	"github.com/kubembed/kubembed/internal/bench/hosts"
	"github.com/kubembed/kubembed/internal/bench/load"
	"github.com/kubembed/kubembed/pkg/etcd"
)

var growthSection = section{
	name: "growth", title: "Growth",
	about: "16 writers fill an ephemeral control plane with pods. At each number of pods, its memory after a while, less the memory of the empty control plane, is divided by the number, " +
		"and further creates are measured, with one client and with 16.",
	sides:  []string{own, envtest},
	ratios: [][2]string{{own, envtest}},
	measure: func(m *measurement) error {
		return m.with("", func(s *server) error {
			empty, _, err := s.settled()
			if err != nil {
				return err
			}
			there, first := 0, time.Duration(0)
			create := func(clients, objects int) (done, error) {
				there += objects
				return s.do(load.Spec{Work: "create", Namespace: "growth", Clients: clients, First: there - objects, Objects: objects})
			}
			for i, pods := range m.sizes.Growth {
				if pods > there {
					if _, err := create(16, pods-there); err != nil {
						return err
					}
				}
				servers, _, err := s.settled()
				if err != nil {
					return err
				}
				s.add(fmt.Sprintf("%d pods: memory of each", pods), "KiB", float64(servers.Resident-empty.Resident)/kibibyte/float64(there))
				s.addBytes(fmt.Sprintf("%d pods: memory, resident", pods), servers.Resident)
				one, err := create(1, m.sizes.Probes)
				if err != nil {
					return err
				}
				many, err := create(16, m.sizes.Probes)
				if err != nil {
					return err
				}
				name := fmt.Sprintf("%d pods: create, ", pods)
				s.addTime(name+"1 client: p50", one.P50)
				s.addTime(name+"1 client: p99", one.P99)
				s.add(name+"16 clients: rate", "/s", many.PerSecond())
				s.addTime(name+"16 clients: p99", many.P99)
				if i == 0 {
					first = one.P50
				} else {
					s.add(name+"1 client: p50, to that of the fewest", "×", float64(one.P50)/float64(first))
				}
			}
			return nil
		})
	},
}

var durableSection = section{
	name: "durable", title: "Durable creates",
	about: "Pods are created on a directory with fsync, so each survives a power cut after its request returns. For comparison: puts of 1.5 KB through the client of our own etcd member in the same process, and the disk: " +
		"one fdatasync after another, of 2 KiB each, in a file of fixed size.",
	sides:   []string{durableOwn, separate, rawEtcd},
	ratios:  [][2]string{{durableOwn, separate}, {durableOwn, rawEtcd}},
	summary: []string{"16 writers: rate"},
	measure: durable,
}

func durable(m *measurement) error {
	dir, remove, err := m.directory("durable-")
	if err != nil {
		return err
	}
	defer remove()
	if m.side == rawEtcd {
		return m.raw(dir)
	}
	return m.with(filepath.Join(dir, "data"), func(s *server) error {
		if _, err := s.do(load.Spec{Work: "create", Namespace: "before", Clients: 4, Objects: 50}); err != nil {
			return err
		}
		for i, clients := range m.sizes.Clients {
			d, err := s.do(load.Spec{Work: "create", Namespace: fmt.Sprint("writers-", clients), Clients: clients, Objects: m.sizes.Writes[i]})
			if err != nil {
				return err
			}
			m.writes(clients, d.Result)
			m.addTime(fmt.Sprintf("%d writers: server CPU", clients), d.perRequest())
		}
		if m.side != durableOwn {
			return nil
		}
		for i, clients := range m.sizes.Clients {
			spec := load.Spec{Work: "create", Namespace: fmt.Sprint("in-process-", clients), Clients: clients, Objects: m.sizes.Writes[i]}
			a, err := s.Do(hosts.Command{Do: hosts.Load, Load: spec})
			if err != nil {
				return err
			}
			m.add(fmt.Sprintf("%d writers in-process: rate", clients), "/s", a.Load.PerSecond())
			m.addTime(fmt.Sprintf("%d writers in-process: p50", clients), a.Load.P50)
		}
		return nil
	})
}

func (m *measurement) writes(clients int, r load.Result) {
	name := fmt.Sprintf("%d writers: ", clients)
	m.add(name+"rate", "/s", r.PerSecond())
	m.addTime(name+"p50", r.P50)
	m.addTime(name+"p99", r.P99)
}

// raw measures the layers below the API server.
func (m *measurement) raw(dir string) error {
	member, err := etcd.Start(m.ctx, etcd.Config{Dir: filepath.Join(dir, "etcd")})
	if err != nil {
		return err
	}
	defer func() { _ = member.Close() }()
	value := string(make([]byte, 1500))
	for i, clients := range m.sizes.Clients {
		r, err := load.Run(m.ctx, m.sizes.Writes[i], clients, func(ctx context.Context, i int) error {
			_, err := member.Client().Put(ctx, fmt.Sprintf("/%d/%d", clients, i), value)
			return err
		})
		if err != nil {
			return err
		}
		m.writes(clients, r)
		if clients == 1 {
			// The same figures next to ours.
			m.add("1 writers in-process: rate", "/s", r.PerSecond())
			m.addTime("1 writers in-process: p50", r.P50)
		}
	}
	return m.fdatasync(dir)
}

func (m *measurement) fdatasync(dir string) (err error) {
	const block, blocks = 2 * kibibyte, 1000
	file, err := os.Create(filepath.Join(dir, "floor"))
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	data := make([]byte, block)
	elapsed := make([]time.Duration, blocks)
	if _, err := file.Write(make([]byte, block*blocks)); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	for i := range blocks {
		began := time.Now()
		if _, err := file.WriteAt(data, int64(i*block)); err != nil {
			return err
		}
		if err := fileutil.Fdatasync(file); err != nil {
			return err
		}
		elapsed[i] = time.Since(began)
	}
	slices.Sort(elapsed)
	m.addTime("fdatasync of 2 KiB: p50", elapsed[blocks/2])
	m.addTime("fdatasync of 2 KiB: p99", elapsed[blocks*99/100])
	return nil
}

var planesSection = section{
	name: "planes", title: "Many control planes in one process",
	summary: []string{"10: " + furtherPrivate},
	about:   "Control planes are started one after the other in one process, and left idle. A further one is the average of all after the first. Private memory is heap and stacks (RssAnon).",
	sides:   []string{own, bare},
	measure: func(m *measurement) error {
		return m.with("", func(s *server) error {
			first, _, err := s.settled()
			if err != nil {
				return err
			}
			s.addTime("1: "+startName, s.Started)
			s.addBytes("1: memory, resident", first.Resident)
			s.addBytes("1: memory, private", first.Private)
			s.addBytes("1: memory, file pages", first.File)
			firstHeap, err := s.Do(hosts.Command{Do: hosts.Heap})
			if err != nil {
				return err
			}
			there := 1
			for _, planes := range m.sizes.Planes {
				if planes <= there {
					continue
				}
				more, err := s.Do(hosts.Command{Do: hosts.More, Count: planes - there})
				if err != nil {
					return err
				}
				there = planes
				name := fmt.Sprintf("%d: ", planes)
				slices.Sort(more.Each)
				s.addTime(name+"start of a further one, median", more.Each[len(more.Each)/2])
				servers, _, err := s.settled()
				if err != nil {
					return err
				}
				s.addBytes(name+"memory, resident", servers.Resident)
				s.addBytes(name+"memory, private", servers.Private)
				s.addBytes(name+"memory, file pages", servers.File)
				further := func(now, one int64) int64 { return (now - one) / int64(planes-1) }
				s.addBytes(name+furtherResident, further(servers.Resident, first.Resident))
				s.addBytes(name+furtherPrivate, further(servers.Private, first.Private))
				s.addBytes(name+"file pages of a further one", further(servers.File, first.File))
				heap, err := s.Do(hosts.Command{Do: hosts.Heap})
				if err != nil {
					return err
				}
				s.addBytes(name+"heap of a further one after a garbage collection", further(heap.Bytes, firstHeap.Bytes))
			}
			return s.stop(fmt.Sprintf("%d: stop of all", there))
		})
	},
}

const (
	furtherResident = "memory of a further one, resident"
	furtherPrivate  = "memory of a further one, private"
)
