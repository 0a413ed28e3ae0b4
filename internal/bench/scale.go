// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/kubembed/kubembed/internal/bench/hosts"
	"github.com/kubembed/kubembed/internal/bench/load"
	"github.com/kubembed/kubembed/internal/bench/process"
)

const (
	nodesReady    = "nodes: all Ready"
	podsRunning   = "pods: all Running"
	podsCPU       = "pods: CPU of all processes"
	scaleMemory   = "pods: private memory of all processes"
	endedWatches  = "watches terminated"
	endedWatchers = "apiserver_terminated_watchers_total"
)

var scaleSection = section{
	name: "scale", title: "Simulated nodes",
	about: "Deployments share the pods. Time counts from the creation of the Deployments until the last pod is Running, as the client sees it in a watch. " +
		"kubembed runs the scheduler, all controllers and the nodes in one process. kwok has its fast stages and runs on etcd, kube-apiserver, kube-controller-manager and kube-scheduler, whose clients have a rate of 5,000. " +
		"Nodes have the same capacity, and count as Ready when they have no taint: from the request to run them, or from the first Node object that the client creates for kwok. " +
		"CPU is that of the same time, and memory (RssAnon) that of its end, both without the client. Terminated watches were too slow for the API server, and started over.",
	sides:   []string{simulated, kwok},
	ratios:  [][2]string{{simulated, kwok}},
	byHand:  true,
	summary: []string{podsRunning},
	measure: (*measurement).scale,
}

// scalePrograms are the programs of the section.
var scalePrograms = []program{
	{nodesHost, ".", []string{"build", "./hosts/nodes"}},
	{kwokProgram, "kwok", []string{"build", "sigs.k8s.io/kwok/cmd/kwok"}},
}

func (m *measurement) scale() error {
	if m.side != kwok {
		return m.withHost((*server).scale, nodesHost)
	}
	stages, err := m.kwokStages()
	if err != nil {
		return err
	}
	return m.withHost((*server).scale, upstreamHost, "-kwok", m.paths.program(kwokProgram), "-stages", stages)
}

// kwokStages returns the directory of the stages in kwok's module.
func (m *measurement) kwokStages() (string, error) {
	list := (&bench{paths: m.paths}).goCommand("kwok", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/kwok")
	list.Env = append(os.Environ(), "GOWORK=off")
	dir, err := output(list)
	return filepath.Join(dir, "kustomize", "stage"), err
}

func (s *server) scale() error {
	if _, err := s.client.Do(s.ctx, load.Spec{Work: "wait for components"}); err != nil {
		return err
	}
	name := fmt.Sprintf("%d ", s.sizes.ScaleNodes)
	ready, err := s.scaleNodes()
	if err != nil {
		return err
	}
	s.add(name+nodesReady, "s", ready.Seconds())
	d, err := s.do(load.Spec{Work: "deploy", Namespace: "scale", Clients: 4, Deployments: s.sizes.ScaleDeployments, Objects: s.sizes.ScalePods})
	if err != nil {
		return err
	}
	_, servers, err := s.Processes()
	if err != nil {
		return err
	}
	memory, err := process.MemoryOf(servers)
	if err != nil {
		return err
	}
	ended, err := s.client.Metric(s.ctx, endedWatchers)
	if err != nil {
		return err
	}
	name = fmt.Sprintf("%d ", s.sizes.ScalePods)
	s.add(name+podsRunning, "s", d.Took.Seconds())
	s.add(name+podsCPU, "s", d.cpu.Seconds())
	s.addBytes(name+scaleMemory, memory.Private)
	s.add(endedWatches, "", ended)
	return nil
}

// scaleNodes runs the nodes, and returns the time until all are Ready.
func (s *server) scaleNodes() (time.Duration, error) {
	spec := load.Spec{Work: "create nodes", Clients: 16, Objects: s.sizes.ScaleNodes}
	began := time.Now()
	if s.side == simulated {
		if _, err := s.Do(hosts.Command{Do: hosts.Nodes, Count: spec.Objects}); err != nil {
			return 0, err
		}
		spec.Work = "wait for nodes"
	}
	_, err := s.client.Do(context.WithoutCancel(s.ctx), spec)
	return time.Since(began), err
}
