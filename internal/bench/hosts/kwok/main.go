// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Command kwok is the host of a control plane of separate programs: etcd, kube-apiserver,
// kube-controller-manager, kube-scheduler, and kwok, which simulates the nodes.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/kubembed/kubembed/internal/bench/cluster"
	"github.com/kubembed/kubembed/internal/bench/hosts"
)

// unlimited are the rates of a client that is not to be limited.
var unlimited = []string{"--kube-api-qps=5000", "--kube-api-burst=5000"}

func main() {
	p := &plane{}
	flag.StringVar(&p.program, "kwok", "", "path of kwok")
	flag.StringVar(&p.stages, "stages", "", "directory of kwok's stages")
	flag.Parse()
	log.SetLogger(logr.Discard())
	apiserver := p.env.ControlPlane.GetAPIServer().Configure()
	// As on the other sides.
	apiserver.Set("authorization-mode", "Node", "RBAC")
	apiserver.Set("enable-admission-plugins", "NodeRestriction")
	apiserver.Set("disable-admission-plugins", "ServiceAccount", "TaintNodesByCondition")
	os.Exit(hosts.Serve(p))
}

type plane struct {
	program, stages string
	env             envtest.Environment
	cluster         *cluster.Cluster
}

func (p *plane) Start() (*rest.Config, []byte, error) {
	assets := os.Getenv("KUBEBUILDER_ASSETS")
	if assets == "" {
		return nil, nil, errors.New("KUBEBUILDER_ASSETS is not set: go run ./internal/bench sets it")
	}
	config, err := p.env.Start()
	if err != nil {
		return nil, nil, err
	}
	p.cluster, err = cluster.Start(cluster.Config{Assets: assets, ClientFlags: unlimited, Nodes: exec.Command(p.program, p.flags()...)}, &p.env, config)
	return config, p.env.KubeConfig, err
}

// flags returns kwok's flags: its fast stages, and Leases as kwokctl configures them.
func (p *plane) flags() []string {
	flags := []string{"--manage-all-nodes=true", "--node-lease-duration-seconds=40"}
	for _, stage := range []string{
		"node/fast/node-initialize", "node/heartbeat-with-lease/node-heartbeat-with-lease",
		"pod/fast/pod-ready", "pod/fast/pod-complete", "pod/fast/pod-delete",
	} {
		flags = append(flags, "--config="+filepath.Join(p.stages, stage+".yaml"))
	}
	return flags
}

func (p *plane) Do(c hosts.Command) (hosts.Answer, error) {
	return hosts.Answer{}, fmt.Errorf("kwok cannot do %q", c.Do)
}

func (p *plane) Stop() error {
	var err error
	if p.cluster != nil {
		err = p.cluster.Stop()
	}
	return errors.Join(err, p.env.Stop())
}
