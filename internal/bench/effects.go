// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"time"

	"github.com/kubembed/kubembed/internal/bench/effects"
	"github.com/kubembed/kubembed/internal/bench/hosts"
)

var effectsSection = section{
	name: "effects", title: "Time to effect",
	about: "The time from a request until a client sees its effect: in an event of a watch or, for an effect on requests, in the first different answer of a request that is repeated without pause. " +
		"Trials follow each other on a quiet control plane. Requests come at even phases of the longest delay so far, so that none profits or suffers from a controller's timer. p99 of 30 trials is the longest. " +
		"kubembed runs its controllers, scheduler and simulated node in its process. Upstream's cluster is etcd, kube-apiserver, kube-controller-manager, kube-scheduler and a hollow node of kubemark, a process each, with their default settings and without elections; kubemark's client has the rate limit of a kubelet. " +
		"Admission is complete on both sides. Bars are for the medians. " +
		"A CronJob's delay counts from the minute, with a fifteenth of the trials. The metrics API of the autoscaler is the client's. The pods of a Job that completes are on a node that only the client plays: those of kubemark run forever. They are also ready before they run, so that a workload counts as available when its status says so and its pods are Running. " +
		"A node's death is reported by its status or a taint: the grace period of a silent node is a setting, and so is the number of nodes whose pods are evicted in ten seconds, which is raised on both sides.",
	sides:   []string{own, inProcess, upstream},
	ratios:  [][2]string{{own, upstream}, {inProcess, upstream}},
	measure: (*measurement).effects,
	summary: []string{
		namespaceOf50 + medianEnd,
		newOwner + medianEnd,
		"ValidatingAdmissionPolicy created → enforced" + medianEnd,
		"CRD created → first custom resource accepted" + medianEnd,
		"Deployment of 3 created → available" + medianEnd,
		jobActive + medianEnd,
	},
}

const (
	medianEnd     = ": p50"
	namespaceOf50 = "namespace with 50 objects deleted → gone"
	newOwner      = "owner of a new CRD deleted (background) → dependent gone"
	jobActive     = "Job of 5 created → 5 pods active"
)

// constantDelays are the effects that upstream delays by a constant, with the limit of
// ours in milliseconds, or 0.
var constantDelays = map[string]float64{
	"empty namespace deleted → gone":                  0,
	namespaceOf50:                                     300,
	"namespace with a custom resource deleted → gone": 0,
	newOwner: 200,
	"owner of a new CRD deleted (foreground) → dependent gone": 200,
	"ValidatingAdmissionPolicy created → enforced":             200,
	"ValidatingAdmissionPolicy deleted → no longer enforced":   200,
	"MutatingAdmissionPolicy created → enforced":               200,
	"MutatingAdmissionPolicy deleted → no longer enforced":     200,
	"node reports that it is not ready → its pod evicted":      0,
	jobActive:                             0,
	"Job of 5, pods succeeded → complete": 0,
	"Service created → EndpointSlice with the pod":        0,
	"pod of a Service created → in the EndpointSlice":     0,
	"object of a full ResourceQuota deleted → room again": 0,
}

// effectBars are the bars of the medians: no effect is slower than upstream's.
func effectBars() (all []bar) {
	for _, name := range effects.Names() {
		limit := 1.
		milliseconds, constant := constantDelays[name]
		if constant {
			limit = 1. / 5
		}
		for _, side := range []string{own, inProcess} {
			all = append(all, bar{"effects", name + medianEnd, side, upstream, false, limit, limit})
			if milliseconds > 0 {
				all = append(all, bar{"effects", name + medianEnd, side, "", false, milliseconds, milliseconds})
			}
		}
	}
	return all
}

func (m *measurement) effects() error {
	program := ownCluster
	if m.side == upstream {
		program = upstreamHost
	}
	return m.withHost(func(s *server) error {
		results, err := s.effects(effects.Spec{Trials: m.sizes.Trials, Only: m.sizes.Effects})
		if err != nil {
			return err
		}
		for _, r := range results {
			m.addTime(r.Name+medianEnd, at(r.Delays, 50))
			m.addTime(r.Name+": p99", at(r.Delays, 99))
		}
		return nil
	}, program)
}

func (s *server) effects(spec effects.Spec) ([]effects.Result, error) {
	if s.side == inProcess {
		a, err := s.Do(hosts.Command{Do: hosts.Effects, Effects: spec})
		return a.Effects, err
	}
	config, err := s.Config()
	if err != nil {
		return nil, err
	}
	return effects.Run(s.ctx, config, spec)
}

// at returns a percentile of sorted durations, by the nearest rank.
func at(sorted []time.Duration, percent int) time.Duration {
	return sorted[max((len(sorted)*percent+99)/100, 1)-1]
}
