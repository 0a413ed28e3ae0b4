// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"testing"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/components/controllers"
	"github.com/kubembed/kubembed/pkg/components/hollownode"
	"github.com/kubembed/kubembed/pkg/components/scheduler"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// TestOrdinaryUseLogsNoWarning: everyday use logs no warning. Warnings are only for
// events that need an operator.
func TestOrdinaryUseLogsNoWarning(t *testing.T) {
	log, logger := newJournal()
	nodes := hollownode.New(hollownode.Config{Count: 2})
	p, server := startServer(t, controlplane.Config{Logger: logger, Components: []controlplane.Component{
		scheduler.New(scheduler.Config{}),
		controllers.New(controllers.Config{}),
		nodes,
	}})
	k := p.kubectl(t)
	w := startWorker(t, p, "worker1")
	k.ok(t, "taint", "nodes", "worker1", "node.cloudprovider.kubernetes.io/uninitialized-")
	k.ok(t, "wait", "--for=condition=Ready", "node/worker1", "--timeout=60s")
	waitServing(t, w)

	step(t, "a Deployment", func(t *testing.T) {
		k.ok(t, "cordon", "worker1") // its pods are on simulated nodes
		k.ok(t, "create", "deployment", "web", "--image=nginx:1", "--replicas=3", "--port=80")
		k.ok(t, "rollout", "status", "deployment/web", "--timeout=60s")
		k.ok(t, "set", "image", "deployment/web", "nginx=nginx:2")
		k.ok(t, "rollout", "status", "deployment/web", "--timeout=60s")
		k.ok(t, "scale", "deployment", "web", "--replicas=1")
		k.ok(t, "expose", "deployment", "web", "--port=80")
		k.ok(t, "logs", "deployment/web")
	})
	step(t, "streams", func(t *testing.T) {
		for _, websockets := range []string{"true", "false"} {
			k := p.kubectl(t)
			k.env = []string{"KUBECTL_REMOTE_COMMAND_WEBSOCKETS=" + websockets, "KUBECTL_PORT_FORWARD_WEBSOCKETS=" + websockets}
			pod := "websockets-" + websockets
			k.ok(t, "run", pod, "--image=nginx:latest", "--restart=Never", `--overrides={"spec":{"nodeName":"worker1"}}`)
			waitPod(t, p.client(t), pod, running)
			wantIs(t, k.ok(t, "exec", pod, "--", "echo", "hello"), "hello")
			wantIs(t, k.okStdin(t, "through and through", "exec", "-i", pod, "--", "cat"), "through and through")
			streamPortForward(t, k, pod)
			streamAttach(t, k, pod)
			wantIs(t, k.ok(t, "exec", pod, "--", "echo", "still here"), "still here")
			// A user stops following.
			follow := startKubectl(t, k, "logs", "-f", pod)
			watching := startKubectl(t, k, "get", "pods", "-w")
			testwait.Until(t, "what kubectl follows", func(context.Context) error {
				return unless(follow.out.String() != "" && watching.out.String() != "", nil)
			})
			follow.kill(t)
			watching.kill(t)
			// Pods of simulated nodes have no streams.
			if r := k.run(t, "", "port-forward", "deployment/web", ":80"); r.code == 0 {
				t.Errorf("%sport-forward to a simulated node", r)
			}
			if r := k.run(t, "", "exec", "deployment/web", "--", "true"); r.code == 0 {
				t.Errorf("%sexec on a simulated node", r)
			}
			k.ok(t, "delete", "pod", pod, "--now")
		}
	})
	step(t, "watches when the control plane stops", func(t *testing.T) {
		watching := startKubectl(t, k, "get", "pods", "-w")
		testwait.Until(t, "what kubectl watches", func(context.Context) error { return unless(watching.out.String() != "", nil) })
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		watching.wait(t)
	})
	log.save(t)
	log.wantNoWarnings(t)
	log.wantLine(t, "started", map[string]string{"address": "", "version": "", "took": ""})
	log.wantLine(t, "component is ready", map[string]string{"component": "scheduler", "took": ""})
	log.wantLine(t, "node joined", map[string]string{"node": "worker1"})
	log.wantLine(t, "node joined", map[string]string{"node": nodes.Names()[0]})
	log.wantLine(t, "certificate signed", map[string]string{"signer": "kubernetes.io/kubelet-serving", "user": "system:node:worker1", "request": ""})
	log.wantLine(t, "certificate signed", map[string]string{"signer": "kubernetes.io/kube-apiserver-client-kubelet"})
	log.wantLine(t, "stopping", map[string]string{"reason": "Shutdown or Close was called"})
	log.wantLine(t, "stopped", map[string]string{"took": ""})
}
