// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package plane

import (
	"context"
	"errors"
	"fmt"
	"io"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kubembed/kubembed/internal/pool/protocol"
)

// The methods below are the calls of a lease. A call that makes credentials marks the
// control plane.

// Kubeconfig returns the kubeconfig of a user.
func (p *Plane) Kubeconfig(r protocol.KubeconfigRequest) (protocol.Data, error) {
	p.marks.set("a kubeconfig was made")
	return data(p.server.Kubeconfig(r.User, r.Groups...))
}

// NodeKubeconfig returns the kubeconfig of a node.
func (p *Plane) NodeKubeconfig(r protocol.NodeRequest) (protocol.Data, error) {
	p.marks.set("a kubeconfig was made")
	return data(p.server.NodeKubeconfig(r.Name))
}

// JoinKubeconfig returns a kubeconfig with which nodes join.
func (p *Plane) JoinKubeconfig(ctx context.Context, r protocol.JoinRequest) (protocol.Data, error) {
	p.marks.set("a kubeconfig was made")
	return data(p.server.JoinKubeconfig(ctx, r.Lifetime))
}

func data(d []byte, err error) (protocol.Data, error) { return protocol.Data{Data: d}, err }

// RevokeKubeconfig revokes a kubeconfig.
func (p *Plane) RevokeKubeconfig(ctx context.Context, d protocol.Data) error {
	return p.server.RevokeKubeconfig(ctx, d.Data)
}

// RevokeJoinKubeconfig revokes a kubeconfig with which nodes join.
func (p *Plane) RevokeJoinKubeconfig(ctx context.Context, d protocol.Data) error {
	return p.server.RevokeJoinKubeconfig(ctx, d.Data)
}

// RevokeNode revokes the certificates of a node.
func (p *Plane) RevokeNode(ctx context.Context, r protocol.NodeRequest) error {
	p.marks.set("a node was revoked")
	return p.server.RevokeNode(ctx, r.Name)
}

// ServingCertificate returns the certificate of a server of the test: a certificate of a
// server is no credential for the API server.
func (p *Plane) ServingCertificate(r protocol.CertificateRequest) (protocol.KeyPair, error) {
	pair, err := p.server.ServingCertificate(r.Hosts...)
	return protocol.KeyPair{Cert: pair.Cert, Key: pair.Key}, err
}

// NodeServingCertificate returns the certificate of a kubelet.
func (p *Plane) NodeServingCertificate(r protocol.CertificateRequest) (protocol.KeyPair, error) {
	p.marks.set("a kubelet's certificate was made")
	pair, err := p.server.NodeServingCertificate(r.Node, r.Hosts...)
	return protocol.KeyPair{Cert: pair.Cert, Key: pair.Key}, err
}

// WaitForInformers waits until informers have seen a version.
func (p *Plane) WaitForInformers(ctx context.Context, r protocol.InformersRequest) error {
	return p.server.WaitForInformers(ctx, schema.GroupResource{Group: r.Group, Resource: r.Resource}, r.ResourceVersion)
}

// maxCheckpoints bounds the checkpoints of a lease.
const maxCheckpoints = 1000

// Checkpoint takes a checkpoint, which lasts until the end of the lease.
func (p *Plane) Checkpoint(ctx context.Context) (protocol.Checkpoint, error) {
	checkpoint, err := p.server.Checkpoint(ctx)
	if err != nil {
		return protocol.Checkpoint{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.checkpoints) >= maxCheckpoints {
		return protocol.Checkpoint{}, fmt.Errorf("the test has taken %d checkpoints: it must not take one for each step", maxCheckpoints)
	}
	p.checkpoints = append(p.checkpoints, checkpoint)
	return protocol.Checkpoint{ID: int64(len(p.checkpoints))}, nil
}

// Rollback goes back to a checkpoint of the lease.
func (p *Plane) Rollback(ctx context.Context, r protocol.Checkpoint) error {
	p.mu.Lock()
	found := r.ID >= 1 && r.ID <= int64(len(p.checkpoints))
	if !found {
		p.mu.Unlock()
		return errors.New("the checkpoint is of another lease")
	}
	checkpoint := p.checkpoints[r.ID-1]
	p.mu.Unlock()
	return checkpoint.Rollback(ctx)
}

// Snapshot writes a snapshot.
func (p *Plane) Snapshot(ctx context.Context, w io.Writer) error { return p.server.Snapshot(ctx, w) }

// Log returns the log of the lease.
func (p *Plane) Log(r protocol.LogRequest) protocol.Log { return p.logs.since(r.From) }
