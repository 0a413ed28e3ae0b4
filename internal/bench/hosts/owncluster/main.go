// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Command owncluster is the host of a control plane of this library with its components:
// controllers, scheduler, and a simulated node.
package main

import (
	"context"
	"fmt"
	"os"

	"k8s.io/client-go/rest"
	kubectrlmgrconfig "k8s.io/kubernetes/pkg/controller/apis/config"

	"github.com/kubembed/kubembed/internal/bench/cluster"
	"github.com/kubembed/kubembed/internal/bench/effects"
	"github.com/kubembed/kubembed/internal/bench/hosts"
	"github.com/kubembed/kubembed/pkg/components/controllers"
	"github.com/kubembed/kubembed/pkg/components/hollownode"
	"github.com/kubembed/kubembed/pkg/components/scheduler"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

func main() { os.Exit(hosts.Serve(&plane{})) }

type plane struct{ server *controlplane.Server }

func (p *plane) Start() (_ *rest.Config, kubeconfig []byte, err error) {
	p.server, err = controlplane.Start(context.Background(), controlplane.Config{Components: []controlplane.Component{
		controllers.New(controllers.Config{Customize: func(c *kubectrlmgrconfig.KubeControllerManagerConfiguration) {
			c.NodeLifecycleController.NodeEvictionRate = cluster.EvictionRate
		}}), scheduler.New(scheduler.Config{}), hollownode.New(hollownode.Config{}),
	}})
	if err != nil {
		return nil, nil, err
	}
	kubeconfig, err = p.server.Kubeconfig("admin", "system:masters")
	return p.server.ClientConfig(), kubeconfig, err
}

func (p *plane) Do(c hosts.Command) (answer hosts.Answer, err error) {
	if c.Do != hosts.Effects {
		return answer, fmt.Errorf("owncluster cannot do %q", c.Do)
	}
	answer.Effects, err = effects.Run(context.Background(), p.server.ClientConfig(), c.Effects)
	return answer, err
}

func (p *plane) Stop() error {
	if p.server == nil {
		return nil
	}
	return p.server.Close()
}
