// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"io"
	"time"

	"github.com/kubembed/kubembed/internal/pool/protocol"
)

// Plane is a control plane that tests lease one after another: a plane.Plane.
type Plane interface {
	Begin(id string) protocol.Lease
	End()
	Reset(ctx context.Context) error
	Done() <-chan struct{}
	Err() error
	URL() string
	Leases() int
	Since() time.Time
	Close() error

	Kubeconfig(r protocol.KubeconfigRequest) (protocol.Data, error)
	NodeKubeconfig(r protocol.NodeRequest) (protocol.Data, error)
	JoinKubeconfig(ctx context.Context, r protocol.JoinRequest) (protocol.Data, error)
	RevokeKubeconfig(ctx context.Context, d protocol.Data) error
	RevokeJoinKubeconfig(ctx context.Context, d protocol.Data) error
	RevokeNode(ctx context.Context, r protocol.NodeRequest) error
	ServingCertificate(r protocol.CertificateRequest) (protocol.KeyPair, error)
	NodeServingCertificate(r protocol.CertificateRequest) (protocol.KeyPair, error)
	WaitForInformers(ctx context.Context, r protocol.InformersRequest) error
	Checkpoint(ctx context.Context) (protocol.Checkpoint, error)
	Rollback(ctx context.Context, r protocol.Checkpoint) error
	Snapshot(ctx context.Context, w io.Writer) error
	Log(r protocol.LogRequest) protocol.Log
}
