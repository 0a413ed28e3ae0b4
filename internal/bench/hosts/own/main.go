// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Command own is the host of a control plane of this library.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"k8s.io/client-go/rest"

	"github.com/kubembed/kubembed/internal/bench/hosts"
	"github.com/kubembed/kubembed/internal/bench/load"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

func main() {
	var p plane
	flag.StringVar(&p.config.DataDir, "dir", "", "DataDir")
	flag.BoolVar(&p.config.DisableCoreControllers, "no-controllers", false, "DisableCoreControllers")
	gcPercent := flag.Int("gc-percent", 0, "GOGC, unless it is 0")
	flag.Parse()
	if *gcPercent != 0 {
		debug.SetGCPercent(*gcPercent)
	}
	// As in envtest, so that pods are equal on all sides.
	p.config.DisableAdmissionPlugins = []string{"ServiceAccount"}
	os.Exit(hosts.Serve(&p))
}

type plane struct {
	config  controlplane.Config
	servers []*controlplane.Server
	client  *load.Client
}

func (p *plane) Start() (*rest.Config, []byte, error) {
	server, err := controlplane.Start(context.Background(), p.config)
	if err != nil {
		return nil, nil, err
	}
	p.servers = append(p.servers, server)
	if p.client, err = load.New(server.ClientConfig()); err != nil {
		return nil, nil, err
	}
	kubeconfig, err := server.Kubeconfig("admin", "system:masters")
	return server.ClientConfig(), kubeconfig, err
}

func (p *plane) Do(c hosts.Command) (answer hosts.Answer, err error) {
	switch c.Do {
	case hosts.Load:
		answer.Load, err = p.client.Do(context.Background(), c.Load)
	case hosts.More:
		for range c.Count {
			began := time.Now()
			server, err := controlplane.Start(context.Background(), p.config)
			if err != nil {
				return answer, err
			}
			p.servers = append(p.servers, server)
			answer.Each = append(answer.Each, time.Since(began))
		}
	case hosts.Heap:
		var memory runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&memory)
		answer.Bytes = int64(memory.HeapAlloc)
	default:
		err = fmt.Errorf("own cannot do %q", c.Do)
	}
	return answer, err
}

func (p *plane) Stop() error {
	var errs []error
	for _, server := range p.servers {
		errs = append(errs, server.Close())
	}
	p.servers = nil
	return errors.Join(errs...)
}
