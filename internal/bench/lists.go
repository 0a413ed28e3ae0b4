// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/kubembed/kubembed/internal/bench/load"
)

var listKinds = []struct {
	name string
	list load.List
}{
	{"from cache, protobuf", load.List{Cache: true}},
	{"from cache, JSON", load.List{Cache: true, JSON: true}},
	{"consistent, protobuf", load.List{}},
	{"consistent, JSON", load.List{JSON: true}},
	{"pages of 500, protobuf", load.List{Limit: 500}},
	{"pages of 500, JSON", load.List{Limit: 500, JSON: true}},
}

var listSection = section{
	name: "list", title: "LIST",
	about: "All pods of a namespace, read to the end and not decoded, by one client, with client-go's compression where the transport has it (TLS). " +
		"Lists from cache have resourceVersion=0; consistent and paged lists have none. A figure is the median of several lists in a row. In-process, and with the testserver, only the smallest number of pods is listed.",
	sides:  []string{own, tuned, inProcess, envtest, inOne},
	ratios: [][2]string{{own, envtest}, {tuned, envtest}, {inProcess, envtest}},
	measure: func(m *measurement) error {
		return m.with("", func(s *server) error {
			there := 0
			for i, pods := range m.sizes.Lists {
				if i > 0 && (m.side == inProcess || m.side == inOne) {
					break // Creating so many pods takes minutes.
				}
				if pods > there {
					if _, err := s.do(load.Spec{Work: "create", Namespace: "lists", Clients: 16, First: there, Objects: pods - there}); err != nil {
						return err
					}
					there = pods
				}
				for _, kind := range listKinds {
					d, err := s.do(load.Spec{Work: "list", Namespace: "lists", Objects: m.sizes.repeats(pods), List: kind.list})
					if err != nil {
						return err
					}
					name := fmt.Sprintf("%d pods, %s: ", pods, kind.name)
					s.addTime(name+"time", d.P50)
					s.addTime(name+"server CPU", d.perRequest())
				}
			}
			return nil
		})
	},
}

var watchSection = section{
	name: "watch", title: "Watch fan-out",
	about: "Watchers of one namespace receive created pods, in protobuf, not decoded. Events are counted for all watchers together: at full speed with 16 writers in the process of the watchers, " +
		"and at an even load of 1,000 events a second (at least one pod a second), where the delay counts from before the create request.",
	sides:  []string{own, inProcess, envtest, inOne},
	ratios: [][2]string{{own, envtest}, {inProcess, envtest}},
	measure: func(m *measurement) error {
		return m.with("", func(s *server) error {
			for _, watchers := range m.sizes.Watchers {
				if err := s.watch(watchers); err != nil {
					return err
				}
			}
			return nil
		})
	},
}

func (s *server) watch(watchers int) error {
	// A single watcher would have to read very many events.
	pods := min(max(s.sizes.Events/watchers, 20), s.sizes.Events/20)
	spec := load.Spec{Work: "watch", Namespace: fmt.Sprint("watchers-", watchers), Watchers: watchers, Clients: 16, Objects: pods}
	d, err := s.do(spec)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("%d watchers: ", watchers)
	s.add(name+"events", "/s", d.PerSecond())
	s.add(name+"server CPU for an event", "µs", float64(d.perRequest().Nanoseconds())/1000)

	spec.Namespace += "-even"
	spec.Rate = min(max(1000/float64(watchers), 1), 200)
	spec.Objects = int(max(s.sizes.Load.Seconds()*spec.Rate, 5))
	if d, err = s.do(spec); err != nil {
		return err
	}
	s.addTime(name+"delay p50 at even load", d.P50)
	s.addTime(name+"delay p99 at even load", d.P99)
	return nil
}

var heartbeatsSection = section{
	name: "heartbeats", title: "Heartbeats of nodes",
	about: "Every node updates its Lease every 10 seconds and patches its status every 5 minutes, as kubelets do, evenly spread, in real time; all in one process, on one connection. " +
		"CPU is the servers', in thousandths of a core.",
	sides:  []string{own, envtest},
	ratios: [][2]string{{own, envtest}},
	measure: func(m *measurement) error {
		for _, nodes := range m.sizes.Nodes {
			err := m.with("", func(s *server) error {
				if _, err := s.do(load.Spec{Work: "nodes", Clients: 16, Objects: nodes}); err != nil {
					return err
				}
				d, err := s.do(load.Spec{Work: "heartbeats", Clients: 32, Window: m.sizes.Beats})
				if err != nil {
					return err
				}
				name := fmt.Sprintf("%d nodes: ", nodes)
				s.add(name+"CPU", "ms/s", float64(d.cpu.Milliseconds())/d.Took.Seconds())
				s.addTime(name+"p50 of a Lease", d.P50)
				s.addTime(name+"p99 of a Lease", d.P99)
				servers, _, err := s.settled()
				s.addBytes(name+"memory, resident", servers.Resident)
				return err
			})
			if err != nil {
				return err
			}
		}
		return nil
	},
}
