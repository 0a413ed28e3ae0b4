// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Command nodes is the host of a control plane of this library with the scheduler, all
// controllers and simulated nodes, in one process.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"k8s.io/client-go/rest"

	"github.com/kubembed/kubembed/internal/bench/hosts"
	"github.com/kubembed/kubembed/pkg/components/controllers"
	"github.com/kubembed/kubembed/pkg/components/hollownode"
	"github.com/kubembed/kubembed/pkg/components/scheduler"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

func main() {
	config := controlplane.Config{
		Components: []controlplane.Component{scheduler.New(scheduler.Config{}), controllers.New(controllers.Config{})},
		// As in kube-apiserver.
		Profiling: true,
	}
	// As in envtest, so that pods are equal on all sides.
	config.DisableAdmissionPlugins = []string{"ServiceAccount"}
	os.Exit(hosts.Serve(&plane{config: config}))
}

type plane struct {
	config controlplane.Config
	server *controlplane.Server

	nodes  sync.WaitGroup
	cancel context.CancelFunc
	failed error // of the nodes, after nodes.Wait
}

func (p *plane) Start() (*rest.Config, []byte, error) {
	server, err := controlplane.Start(context.Background(), p.config)
	if err != nil {
		return nil, nil, err
	}
	p.server = server
	kubeconfig, err := server.Kubeconfig("admin", "system:masters")
	return server.ClientConfig(), kubeconfig, err
}

func (p *plane) Do(c hosts.Command) (answer hosts.Answer, err error) {
	if c.Do != hosts.Nodes || p.cancel != nil {
		return answer, fmt.Errorf("nodes cannot do %q", c.Do)
	}
	var ctx context.Context
	ctx, p.cancel = context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan struct{})
	p.nodes.Go(func() {
		defer close(ended)
		p.failed = hollownode.New(hollownode.Config{Count: c.Count}).Run(ctx, p.server.ClientConfig(), func() { close(ready) })
	})
	select {
	case <-ready:
		return answer, nil
	case <-ended:
		return answer, p.failed
	}
}

func (p *plane) Stop() error {
	if p.cancel != nil {
		p.cancel()
		p.nodes.Wait()
	}
	if p.server == nil {
		return p.failed
	}
	return errors.Join(p.failed, p.server.Close())
}
