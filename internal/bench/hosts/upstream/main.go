// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Command upstream is the host of a cluster of upstream's programs: envtest's etcd and
// kube-apiserver, kube-controller-manager, kube-scheduler, and a simulated node of
// kubemark or, with -kwok, kwok's nodes.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/kubembed/kubembed/internal/bench/cluster"
	"github.com/kubembed/kubembed/internal/bench/hosts"
)

func main() {
	kwok := flag.String("kwok", "", "path of kwok")
	stages := flag.String("stages", "", "directory of kwok's stages")
	flag.Parse()
	log.SetLogger(logr.Discard())
	p := &plane{}
	apiserver := p.env.ControlPlane.GetAPIServer().Configure()
	apiserver.Set("authorization-mode", "Node", "RBAC")
	apiserver.Set("enable-admission-plugins", "NodeRestriction")
	// As on our side: the effects have all admission plugins, the simulated nodes have
	// envtest's.
	if *kwok == "" {
		apiserver.Disable("disable-admission-plugins")
	} else {
		apiserver.Set("disable-admission-plugins", "ServiceAccount", "TaintNodesByCondition")
		useKwok(&p.config, *kwok, *stages)
	}
	os.Exit(hosts.Serve(p))
}

type plane struct {
	config  cluster.Config
	env     envtest.Environment
	cluster *cluster.Cluster
}

func (p *plane) Start() (*rest.Config, []byte, error) {
	p.config.Assets = os.Getenv("KUBEBUILDER_ASSETS")
	if p.config.Assets == "" {
		return nil, nil, errors.New("KUBEBUILDER_ASSETS is not set: go run ./internal/bench sets it")
	}
	config, err := p.env.Start()
	if err != nil {
		return nil, nil, err
	}
	if p.cluster, err = cluster.Start(p.config, &p.env, config); err != nil {
		return nil, nil, err
	}
	return config, p.env.KubeConfig, nil
}

func (p *plane) Do(c hosts.Command) (hosts.Answer, error) {
	return hosts.Answer{}, fmt.Errorf("upstream cannot do %q", c.Do)
}

func (p *plane) Stop() error {
	var err error
	if p.cluster != nil {
		err = p.cluster.Stop()
	}
	return errors.Join(err, p.env.Stop())
}
