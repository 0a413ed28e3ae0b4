// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package kubeapiserver

import (
	"context"
	"errors"
	"fmt"
	"time"

	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/egressselector"

	"github.com/kubembed/kubembed/pkg/apiserver"
)

// dial sets the dialers of --egress-selector-config-file.
func (f *completed) dial(c *apiserver.Config) error {
	if f.EgressSelector.ConfigFile == "" {
		return nil
	}
	fail := func(err error) error {
		return fmt.Errorf("--egress-selector-config-file=%s: %w", f.EgressSelector.ConfigFile, err)
	}
	applied := &genericapiserver.Config{}
	if err := f.EgressSelector.ApplyTo(applied); err != nil {
		return fail(err)
	}
	f.egress = applied.EgressSelector
	dialers := map[egressselector.EgressType]apiserver.DialFunc{}
	for _, network := range []egressselector.EgressType{egressselector.Cluster, egressselector.ControlPlane, egressselector.Etcd} {
		dial, err := f.egress.Lookup(network.AsNetworkContext())
		if err != nil {
			return fail(err)
		}
		dialers[network] = apiserver.DialFunc(dial)
	}
	if dialers[egressselector.Etcd] != nil {
		return fail(errors.New("a proxy to etcd is not supported: leave out the selection of etcd, or run kube-apiserver itself"))
	}
	cluster := dialers[egressselector.Cluster]
	c.Dialers = apiserver.Dialers{Nodes: cluster, AggregatedServers: cluster, ControlPlane: dialers[egressselector.ControlPlane]}
	return nil
}

// tracesTimeout bounds the time in which the last spans are sent.
const tracesTimeout = 5 * time.Second

// lastly calls end, which sends the last spans, after ctx has ended.
func lastly(ctx context.Context, end func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tracesTimeout)
	defer cancel()
	return end(ctx)
}

// trace sets the receiver of spans of --tracing-config-file. The caller ends it.
func (f *completed) trace(c *apiserver.Config) (end func(context.Context) error, err error) {
	if f.Traces.ConfigFile == "" {
		return func(context.Context) error { return nil }, nil
	}
	applied := &genericapiserver.Config{}
	if err := f.Traces.ApplyTo(f.egress, applied); err != nil {
		return nil, fmt.Errorf("--tracing-config-file=%s: %w", f.Traces.ConfigFile, err)
	}
	c.TracerProvider = applied.TracerProvider
	return applied.TracerProvider.Shutdown, nil
}
