package apiserver

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/reconcilers"
)

// noPeers answers upstream's mixed-version proxy, which is on by default. It is not
// used here: a server answers what it knows itself.
type noPeers struct{}

var _ reconcilers.PeerEndpointLeaseReconciler = noPeers{}

func (noPeers) GetEndpoint(string) (string, error)                      { return "", nil }
func (noPeers) UpdateLease(string, string, []corev1.EndpointPort) error { return nil }
func (noPeers) RemoveLease(string) error                                { return nil }
func (noPeers) Destroy()                                                {}
func (noPeers) StopReconciling()                                        {}
