// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Command envtest is the host of a control plane of envtest.
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

	"github.com/kubembed/kubembed/internal/bench/hosts"
)

func main() {
	dir := flag.String("dir", "", "directory of etcd's data, which is then written with fsync")
	flag.Parse()
	log.SetLogger(logr.Discard())
	p := &plane{}
	apiserver := p.env.ControlPlane.GetAPIServer().Configure()
	// Settings of our control plane that envtest lacks.
	apiserver.Set("authorization-mode", "Node", "RBAC")
	apiserver.Set("enable-admission-plugins", "NodeRestriction")
	// envtest's own list, and plugins that our control plane lacks.
	apiserver.Set("disable-admission-plugins", "ServiceAccount", "TaintNodesByCondition")
	if *dir != "" {
		etcd := &envtest.Etcd{DataDir: *dir}
		etcd.Configure().Set("unsafe-no-fsync", "false")
		p.env.ControlPlane.Etcd = etcd
	}
	os.Exit(hosts.Serve(p))
}

type plane struct{ env envtest.Environment }

func (p *plane) Start() (*rest.Config, []byte, error) {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		return nil, nil, errors.New("KUBEBUILDER_ASSETS is not set: go run ./internal/bench sets it")
	}
	config, err := p.env.Start()
	return config, p.env.KubeConfig, err
}

func (p *plane) Do(c hosts.Command) (hosts.Answer, error) {
	return hosts.Answer{}, fmt.Errorf("envtest cannot do %q", c.Do)
}

func (p *plane) Stop() error { return p.env.Stop() }
