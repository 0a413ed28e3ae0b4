// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/kubembed/kubembed/internal/bench/load"
)

var kinds = []string{"create", "get", "update", "patch", "apply", "delete"}

func rateOf(kind string, clients int) string {
	return fmt.Sprintf("%s, %d clients: rate", kind, clients)
}

const equalLoad = "create at %d/s, %d clients: "

var requestsSection = section{
	name: "requests", title: "Requests",
	about: "Pods of 1.5 KB, an ephemeral control plane without fsync; each kind of request once for each pod. The client is one clientset of client-go in protobuf, on one connection; apply is server-side, patch a strategic merge. " +
		"The client has a separate process, or shares the control plane's (in-process). On all sides it competes with the server for the cores. " +
		"CPU is the servers' for one request; in-process, it includes the client's. At equal load, latencies count from the time when a request was due.",
	sides:   []string{own, tuned, inProcess, tunedInProcess, envtest, inOne},
	ratios:  [][2]string{{own, envtest}, {tuned, envtest}, {inProcess, envtest}, {tunedInProcess, envtest}, {own, inOne}},
	summary: []string{rateOf("create", 16)},
	measure: func(m *measurement) error {
		return m.with("", func(s *server) error {
			// Exclude the allocations of the first request.
			if _, err := s.do(load.Spec{Work: "create", Namespace: "before", Clients: 4, Objects: 50}); err != nil {
				return err
			}
			for i, clients := range m.sizes.Clients {
				if err := s.requests(clients, m.sizes.Requests[i]); err != nil {
					return err
				}
			}
			return s.equalLoad(16)
		})
	},
}

func (s *server) requests(clients, objects int) error {
	for _, kind := range kinds {
		d, err := s.do(load.Spec{Work: kind, Namespace: fmt.Sprint("clients-", clients), Clients: clients, Objects: objects})
		if err != nil {
			return err
		}
		name := fmt.Sprintf("%s, %d clients: ", kind, clients)
		s.add(rateOf(kind, clients), "/s", d.PerSecond())
		s.addTime(name+"p50", d.P50)
		s.addTime(name+"p99", d.P99)
		s.addTime(name+"server CPU", d.perRequest())
	}
	return nil
}

func (s *server) equalLoad(clients int) error {
	objects := int(float64(s.sizes.Rate) * s.sizes.Load.Seconds())
	d, err := s.do(load.Spec{Work: "create", Namespace: "equal", Clients: clients, Objects: objects, Rate: float64(s.sizes.Rate)})
	if err != nil {
		return err
	}
	name := fmt.Sprintf(equalLoad, s.sizes.Rate, clients)
	s.add(name+"rate reached", "/s", d.PerSecond())
	s.addTime(name+"p50", d.P50)
	s.addTime(name+"p99", d.P99)
	s.addTime(name+"server CPU", d.perRequest())
	return nil
}
