// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package kubelet decides which kubelets the API server connects to.
package kubelet

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"

	"github.com/kubembed/kubembed/internal/nodeaddress"
)

// reasonAddressRefused is the reason of events about nodes whose registered address is
// refused.
const reasonAddressRefused = "KubeletAddressRefused"

// Policy decides at which addresses and ports the server connects to kubelets.
type Policy struct {
	local         bool // see NewPolicy
	checkEndpoint func(netip.AddrPort) error
	logger        *zap.Logger
	recorder      func() record.EventRecorder
}

// NewPolicy returns a policy. local means that only the server's machine can connect to
// the server, so that all nodes are on it. checkEndpoint returns an error for endpoints
// of the control plane. client writes events about refused addresses until ctx ends.
func NewPolicy(ctx context.Context, local bool, checkEndpoint func(netip.AddrPort) error, client kubernetes.Interface, logger *zap.Logger) *Policy {
	return &Policy{
		local:         local,
		checkEndpoint: checkEndpoint,
		logger:        logger,
		// Made for the first event. A healthy cluster has none.
		recorder: sync.OnceValue(func() record.EventRecorder {
			broadcaster := record.NewBroadcaster(record.WithContext(ctx))
			broadcaster.StartRecordingToSink(&corev1client.EventSinkImpl{Interface: client.CoreV1().Events("")})
			return broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "kube-apiserver"})
		}),
	}
}

// Allows returns an error if the server must not connect to an endpoint. It is called for
// each connection, after name resolution. A node may register an endpoint of the control
// plane; clients with permission for the node's proxy would then act there as
// kube-apiserver-kubelet-client.
func (p *Policy) Allows(at netip.AddrPort) error {
	if err := nodeaddress.CheckKubelet(at.Addr(), p.local); err != nil {
		return err
	}
	return p.checkEndpoint(at)
}

// Check returns an error for the client if the server must not connect to the kubelet of
// node at host and port. It also logs the error and writes an event about the node. A
// name may resolve to another address at the time of the connection, which Allows then
// checks.
func (p *Policy) Check(ctx context.Context, node types.NodeName, host, port string) error {
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return p.refuse(node, host, fmt.Errorf("%q is not a port", port))
	}
	ips := []netip.Addr{}
	if ip, err := netip.ParseAddr(host); err == nil {
		ips = append(ips, ip)
	} else if ips, err = net.DefaultResolver.LookupNetIP(ctx, "ip", host); err != nil {
		return nil //nolint:nilerr // the connection fails with this error
	}
	for _, ip := range ips {
		if err := p.Allows(netip.AddrPortFrom(ip, uint16(number))); err != nil {
			return p.refuse(node, host, err)
		}
	}
	return nil
}

func (p *Policy) refuse(node types.NodeName, host string, err error) error {
	p.logger.Warn("refused to connect to the kubelet of a node",
		zap.String("node", string(node)), zap.String("address", host), zap.Error(err))
	message := fmt.Sprintf("the address %s that node %s has registered is refused: %v", host, node, err)
	// Kubelets, too, use the name of the node as its UID in events.
	p.recorder().Event(&corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: string(node), UID: types.UID(node)},
		corev1.EventTypeWarning, reasonAddressRefused, message)
	return apierrors.NewServiceUnavailable(message)
}
