// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os/exec"
	"path/filepath"

	"github.com/kubembed/kubembed/internal/bench/cluster"
)

// useKwok lets kwok simulate the nodes, with its fast stages, and Leases as kwokctl
// configures them. The clients of the controllers and the scheduler have its rates.
func useKwok(c *cluster.Config, program, stages string) {
	flags := []string{"--manage-all-nodes=true", "--node-lease-duration-seconds=40"}
	for _, stage := range []string{
		"node/fast/node-initialize", "node/heartbeat-with-lease/node-heartbeat-with-lease",
		"pod/fast/pod-ready", "pod/fast/pod-complete", "pod/fast/pod-delete",
	} {
		flags = append(flags, "--config="+filepath.Join(stages, stage+".yaml"))
	}
	c.Nodes = exec.Command(program, flags...)
	c.ClientFlags = []string{"--kube-api-qps=5000", "--kube-api-burst=5000"}
}
