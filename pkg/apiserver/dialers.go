// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"net"
)

// DialFunc opens connections, like net.Dialer.DialContext.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// Dialers open the connections of the server to others, like the egress selectors of
// kube-apiserver. A nil one is a net.Dialer.
type Dialers struct {
	// Nodes is for kubelets, pods and Services.
	Nodes DialFunc
	// ControlPlane is for webhooks, and for OIDC providers with egressSelectorType
	// "controlplane".
	ControlPlane DialFunc
}
