// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/reconcilers"
)

// noPeers replaces the leases of upstream's mixed-version proxy, which is on by default
// and not used here: a server does not forward requests to other servers.
type noPeers struct{}

var _ reconcilers.PeerEndpointLeaseReconciler = noPeers{}

func (noPeers) GetEndpoint(string) (string, error)                      { return "", nil }
func (noPeers) UpdateLease(string, string, []corev1.EndpointPort) error { return nil }
func (noPeers) RemoveLease(string) error                                { return nil }
func (noPeers) Destroy()                                                {}
func (noPeers) StopReconciling()                                        {}
