// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"flag"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// sizes are the amounts of all work.
type sizes struct {
	Directory int           // pods in the directory of a start
	Watches   int           // open during a stop, or no such stop if 0
	Idle      time.Duration // duration of the CPU measurement; memory settles for half as long before it
	Clients   numbers
	Requests  numbers       // of each kind, for each of Clients
	Rate      int           // creates per second at equal load
	Load      time.Duration // duration
	Lists     numbers       // pods in a list
	Repeats   int           // of each list, see repeats
	Watchers  numbers
	Events    int // for all watchers together, at most
	Nodes     numbers
	Beats     time.Duration // duration of the heartbeats
	CRDs      numbers
	Planes    numbers
	Growth    numbers // pods
	Probes    int     // creates measured at each of Growth
	Writes    numbers // durable writes, for each of Clients
	Trials    int     // of each effect
	Effects   string  // regular expression of the measured effects, or all if empty

	ScaleNodes, ScaleDeployments, ScalePods int // pods of all Deployments together
}

// of returns the sizes that a section depends on: those of the effects and of the
// simulated nodes are no other section's, whose measurements stay valid when they change.
func (s sizes) of(section string) sizes {
	if section != "scale" {
		s.ScaleNodes, s.ScaleDeployments, s.ScalePods = 0, 0, 0
	}
	if section != "effects" {
		s.Trials, s.Effects = 0, ""
	}
	return s
}

// repeats returns how often to list so many pods, bounded to less than minutes.
func (s sizes) repeats(pods int) int {
	const often = 10000
	return max(s.Repeats*often/max(pods, often), 3)
}

func fullSizes() sizes {
	return sizes{
		Directory: 10000, Watches: 1000, Idle: 10 * time.Second,
		Clients: numbers{1, 16, 128}, Requests: numbers{500, 3000, 3000}, Rate: 500, Load: 5 * time.Second,
		Lists: numbers{10000, 100000}, Repeats: 10,
		Watchers: numbers{1, 100, 1000}, Events: 100000,
		Nodes: numbers{1000, 5000}, Beats: 15 * time.Second,
		CRDs: numbers{100, 500}, Planes: numbers{1, 10, 50},
		Growth: numbers{1000, 10000, 100000, 150000}, Probes: 1000,
		Writes:     numbers{1000, 4000, 8000},
		Trials:     30,
		ScaleNodes: 1000, ScaleDeployments: 100, ScalePods: 10000,
	}
}

func quickSizes() sizes {
	return sizes{
		Directory: 500, Idle: 2 * time.Second,
		Clients: numbers{1, 16, 128}, Requests: numbers{100, 500, 500}, Rate: 200, Load: time.Second,
		Lists: numbers{500}, Repeats: 10,
		Watchers: numbers{1, 100}, Events: 5000,
		Nodes: numbers{200}, Beats: 3 * time.Second,
		CRDs: numbers{10}, Planes: numbers{1, 3},
		Growth: numbers{200, 1000}, Probes: 100,
		Writes:     numbers{200, 800, 1600},
		Trials:     3,
		ScaleNodes: 20, ScaleDeployments: 4, ScalePods: 100,
	}
}

// flags registers the sizes that are worth changing on the command line.
func (s *sizes) flags() {
	flag.Var(&s.Clients, "clients", "clients at once")
	flag.Var(&s.Requests, "requests", "requests of each kind, as many numbers as -clients")
	flag.Var(&s.Writes, "writes", "durable writes, as many numbers as -clients")
	flag.Var(&s.Lists, "lists", "pods in a list")
	flag.Var(&s.Watchers, "watchers", "watchers at once")
	flag.Var(&s.Nodes, "nodes", "nodes that send heartbeats")
	flag.Var(&s.CRDs, "crds", "CRDs installed")
	flag.Var(&s.Planes, "planes", "control planes in one process")
	flag.Var(&s.Growth, "growth", "pods at which the growth is measured")
	flag.IntVar(&s.Directory, "directory", s.Directory, "pods in the directory of a start")
	flag.IntVar(&s.Watches, "watches", s.Watches, "watches open when stopping (envtest's stop then takes 20 seconds)")
	flag.IntVar(&s.Rate, "rate", s.Rate, "creates per second at equal load, which all sides must reach")
	flag.IntVar(&s.Trials, "trials", s.Trials, "trials of each effect")
	flag.StringVar(&s.Effects, "effects", s.Effects, "regular expression of the effects to measure (if empty, all)")
	flag.IntVar(&s.ScaleNodes, "scale-nodes", s.ScaleNodes, "simulated nodes")
	flag.IntVar(&s.ScaleDeployments, "scale-deployments", s.ScaleDeployments, "Deployments on simulated nodes")
	flag.IntVar(&s.ScalePods, "scale-pods", s.ScalePods, "pods of these Deployments together, at most 110 for each node")
	flag.DurationVar(&s.Idle, "idle", s.Idle, "duration of the idle CPU measurement")
	flag.DurationVar(&s.Beats, "beats", s.Beats, "duration of the heartbeats")
}

func (s sizes) check() error {
	for _, n := range []numbers{s.Clients, s.Lists, s.Watchers, s.Nodes, s.CRDs, s.Planes, s.Growth} {
		if len(n) == 0 {
			return fmt.Errorf("a size is empty")
		}
	}
	if s.Trials < 1 {
		return fmt.Errorf("-trials must be positive")
	}
	if _, err := regexp.Compile(s.Effects); err != nil {
		return fmt.Errorf("-effects: %w", err)
	}
	if s.ScaleNodes < 1 || s.ScaleDeployments < 1 || s.ScalePods < s.ScaleDeployments || s.ScalePods > 110*s.ScaleNodes-1 {
		return fmt.Errorf("-scale-pods must be from -scale-deployments to 110 for each of -scale-nodes, less one")
	}
	if len(s.Requests) != len(s.Clients) || len(s.Writes) != len(s.Clients) {
		return fmt.Errorf("-requests and -writes must have as many numbers as -clients, %d", len(s.Clients))
	}
	return nil
}

// numbers is a flag of comma-separated positive numbers.
type numbers []int

func (n *numbers) String() string {
	var text []string
	for _, i := range *n {
		text = append(text, strconv.Itoa(i))
	}
	return strings.Join(text, ",")
}

func (n *numbers) Set(text string) error {
	*n = nil
	for part := range strings.SplitSeq(text, ",") {
		i, err := strconv.Atoi(strings.TrimSpace(part))
		if err != nil || i < 1 {
			return fmt.Errorf("%q is not a positive number", part)
		}
		*n = append(*n, i)
	}
	return nil
}
