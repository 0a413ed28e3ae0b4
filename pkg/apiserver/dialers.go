// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"net"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apiserver/pkg/server/egressselector"

	"github.com/kubembed/kubembed/internal/apiserver/egress"
	"github.com/kubembed/kubembed/internal/fieldpath"
)

// DialFunc opens connections, like net.Dialer.DialContext. address has a host name or an
// IP address, and a port. It is called concurrently. The connection must not depend on
// the context, which ends when the function returns. It may be one in memory.
//
// An error, a panic, or a function that does not return within 30 seconds or the time of
// its request fails the request that needs the connection. The error names the field.
// Such a function is left in its goroutine; when 10,000 calls have not returned, the next
// fail at once. The server closes the connection when it stops.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// Dialers open connections of the server, like the egress selectors of kube-apiserver
// (--egress-selector-config-file): through a tunnel into the network of the nodes, for
// example. TLS goes through the connection, and certificates are verified as without a
// dialer. If a field is nil, the server connects by itself.
type Dialers struct {
	// Nodes is for kubelets, and for pods, Services and ports of nodes to which clients
	// proxy: kube-apiserver's "cluster". The server does not call it for addresses to
	// which it would not connect by itself: endpoints of the control plane, loopback
	// addresses and cloud metadata. It resolves a host name for this check, and calls
	// the dialer with the addresses, one after the other. Only if the name does not exist
	// here, the dialer gets the name, and must refuse such addresses. If a lookup fails
	// otherwise, the server does not connect.
	//
	// It is also for JWT issuers with egressSelectorType "cluster", and gets the host and
	// port of their URL, without a lookup and without these checks.
	Nodes DialFunc
	// ControlPlane is for webhooks: of admission and of CRD conversion, with a URL or
	// with a Service, and of authentication, authorization and audit, and for JWT issuers
	// with egressSelectorType "controlplane". It is kube-apiserver's "controlplane". The
	// address of a Service is that of one of its endpoints.
	ControlPlane DialFunc
	// AggregatedServers is for the servers of APIServices. The address is that of an
	// endpoint of their Service.
	AggregatedServers DialFunc
}

// contained returns the dialers with their errors and their time bounded by host.
func (d Dialers) contained(host *egress.Host) Dialers {
	if d.Nodes != nil { // egress.Dialer has its connections
		d.Nodes = DialFunc(host.Contain("Config.Dialers.Nodes", utilnet.DialFunc(d.Nodes)))
	}
	if d.ControlPlane != nil {
		d.ControlPlane = DialFunc(host.Dial("Config.Dialers.ControlPlane", utilnet.DialFunc(d.ControlPlane)))
	}
	if d.AggregatedServers != nil {
		d.AggregatedServers = DialFunc(host.Dial("Config.Dialers.AggregatedServers", utilnet.DialFunc(d.AggregatedServers)))
	}
	return d
}

// issuers returns the dialers for JWT issuers with an egressSelectorType. d is contained.
// The host names the addresses of issuers, so egress.Dialer does not check them.
func (d Dialers) issuers(host *egress.Host) egressselector.Lookup {
	return func(network egressselector.NetworkContext) (utilnet.DialFunc, error) {
		name := "ControlPlane"
		switch cluster := network.EgressSelectionName == egressselector.Cluster; {
		case cluster && d.Nodes != nil:
			return host.Keep(utilnet.DialFunc(d.Nodes)), nil
		case cluster:
			name = "Nodes"
		case d.ControlPlane != nil:
			return utilnet.DialFunc(d.ControlPlane), nil
		}
		return nil, fieldpath.Errorf("%s is not set: set it, or take out egressSelectorType", fieldpath.Name("Config.Dialers."+name))
	}
}

// webhooks returns the selector of webhooks, or nil.
func (d Dialers) webhooks() *egressselector.EgressSelector {
	return selector(d.ControlPlane, egressselector.ControlPlane, egressselector.Cluster)
}

// aggregatedServers returns the selector of aggregated API servers, or nil.
func (d Dialers) aggregatedServers() *egressselector.EgressSelector {
	return selector(d.AggregatedServers, egressselector.Cluster)
}

func selector(dial DialFunc, networks ...egressselector.EgressType) *egressselector.EgressSelector {
	if dial == nil {
		return nil
	}
	dialers := map[egressselector.EgressType]utilnet.DialFunc{}
	for _, network := range networks {
		dialers[network] = utilnet.DialFunc(dial)
	}
	return egressselector.NewEgressSelectorWithMap(dialers)
}
