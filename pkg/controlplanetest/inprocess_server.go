// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/kubembed/kubembed/pkg/controlplane"
	"github.com/kubembed/kubembed/pkg/etcd"
	"github.com/kubembed/kubembed/pkg/pki"
)

// InsecureURL returns the address of the plain HTTP listener, or "" without one.
func (cp *ControlPlane) InsecureURL() string { return cp.server.InsecureURL() }

// KubeletServingCABundle returns the PEM certificates that the API server verifies
// kubelets with.
func (cp *ControlPlane) KubeletServingCABundle() []byte { return cp.server.KubeletServingCABundle() }

// NewKubeconfig is controlplane.Server.NewKubeconfig, until the end of the test.
func (cp *ControlPlane) NewKubeconfig(options controlplane.KubeconfigOptions) ([]byte, error) {
	if err := cp.endedErr(); err != nil {
		return nil, err
	}
	return cp.server.NewKubeconfig(options)
}

// ServingCertificate is controlplane.Server.ServingCertificate, until the end of the
// test.
func (cp *ControlPlane) ServingCertificate(hosts ...string) (pki.KeyPair, error) {
	if err := cp.endedErr(); err != nil {
		return pki.KeyPair{}, err
	}
	return cp.server.ServingCertificate(hosts...)
}

// NodeServingCertificate is controlplane.Server.NodeServingCertificate, until the end of
// the test.
func (cp *ControlPlane) NodeServingCertificate(node string, hosts ...string) (pki.KeyPair, error) {
	if err := cp.endedErr(); err != nil {
		return pki.KeyPair{}, err
	}
	return cp.server.NodeServingCertificate(node, hosts...)
}

// PKI is controlplane.Server.PKI, until the end of the test.
func (cp *ControlPlane) PKI() ([]byte, error) {
	if err := cp.endedErr(); err != nil {
		return nil, err
	}
	return cp.server.PKI()
}

// Metrics is controlplane.Server.Metrics. Gather fails after the end of the test.
func (cp *ControlPlane) Metrics() prometheus.Gatherer {
	gatherer := cp.server.Metrics()
	return prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		if err := cp.endedErr(); err != nil {
			return nil, err
		}
		return gatherer.Gather()
	})
}

// WriteSnapshot is controlplane.Server.WriteSnapshot, until the end of the test.
func (cp *ControlPlane) WriteSnapshot(ctx context.Context, path string) error {
	ctx, cancel, err := cp.untilEnd(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	return cp.server.WriteSnapshot(ctx, path)
}

// TakeSnapshot is controlplane.Server.TakeSnapshot, until the end of the test.
func (cp *ControlPlane) TakeSnapshot(ctx context.Context) (controlplane.SnapshotFile, error) {
	ctx, cancel, err := cp.untilEnd(ctx)
	if err != nil {
		return controlplane.SnapshotFile{}, err
	}
	defer cancel()
	return cp.server.TakeSnapshot(ctx)
}

// Reencrypt is controlplane.Server.Reencrypt, until the end of the test.
func (cp *ControlPlane) Reencrypt(ctx context.Context) (int, error) {
	ctx, cancel, err := cp.untilEnd(ctx)
	if err != nil {
		return 0, err
	}
	defer cancel()
	return cp.server.Reencrypt(ctx)
}

// EtcdStatus is controlplane.Server.EtcdStatus, until the end of the test.
func (cp *ControlPlane) EtcdStatus(ctx context.Context) (etcd.Status, error) {
	ctx, cancel, err := cp.untilEnd(ctx)
	if err != nil {
		return etcd.Status{}, err
	}
	defer cancel()
	return cp.server.EtcdStatus(ctx)
}

// Members is controlplane.Server.Members, until the end of the test.
func (cp *ControlPlane) Members(ctx context.Context) ([]etcd.ClusterMember, error) {
	ctx, cancel, err := cp.untilEnd(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	return cp.server.Members(ctx)
}
