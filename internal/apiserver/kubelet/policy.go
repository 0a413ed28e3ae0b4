// Package kubelet has the addresses at which the API server calls kubelets.
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

// reasonAddressRefused is the reason of the events about a node whose address is
// not connected to.
const reasonAddressRefused = "KubeletAddressRefused"

// Policy says at which addresses and ports nodes may have their kubelets.
type Policy struct {
	local         bool // only this machine can connect to the server, so all nodes are on it
	checkEndpoint func(netip.AddrPort) error
	logger        *zap.Logger
	recorder      func() record.EventRecorder
}

// NewPolicy returns a policy of a server that only its own machine can connect to if local is true.
// checkEndpoint returns an error for endpoints of the control plane. Events about refused addresses are
// written by client until ctx ends.
func NewPolicy(ctx context.Context, local bool, checkEndpoint func(netip.AddrPort) error, client kubernetes.Interface, logger *zap.Logger) *Policy {
	return &Policy{
		local:         local,
		checkEndpoint: checkEndpoint,
		logger:        logger,
		// Made when there is something to tell, which is never in a sound cluster.
		recorder: sync.OnceValue(func() record.EventRecorder {
			broadcaster := record.NewBroadcaster(record.WithContext(ctx))
			broadcaster.StartRecordingToSink(&corev1client.EventSinkImpl{Interface: client.CoreV1().Events("")})
			return broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "kube-apiserver"})
		}),
	}
}

// Allows is asked about the endpoint of each connection, when a name has been
// resolved. A node that has registered an endpoint of the control plane would have
// clients with the right to its proxy act there as kube-apiserver-kubelet-client.
func (p *Policy) Allows(at netip.AddrPort) error {
	if err := nodeaddress.CheckKubelet(at.Addr(), p.local); err != nil {
		return err
	}
	return p.checkEndpoint(at)
}

// Check tells the client, the log and the node's events why nothing is sent to
// the kubelet of node at host and port. A name may be resolved to something else when
// it is connected to: that is checked again.
func (p *Policy) Check(ctx context.Context, node types.NodeName, host, port string) error {
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return p.refuse(node, host, fmt.Errorf("%q is not a port", port))
	}
	ips := []netip.Addr{}
	if ip, err := netip.ParseAddr(host); err == nil {
		ips = append(ips, ip)
	} else if ips, err = net.DefaultResolver.LookupNetIP(ctx, "ip", host); err != nil {
		return nil // as the connection will say
	}
	for _, ip := range ips {
		if err := p.Allows(netip.AddrPortFrom(ip, uint16(number))); err != nil {
			return p.refuse(node, host, err)
		}
	}
	return nil
}

func (p *Policy) refuse(node types.NodeName, host string, err error) error {
	p.logger.Warn("the kubelet of a node is not connected to",
		zap.String("node", string(node)), zap.String("address", host), zap.Error(err))
	message := fmt.Sprintf("the address %s that node %s has registered is refused: %v", host, node, err)
	// Kubelets, too, give events about their node its name for a UID.
	p.recorder().Event(&corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: string(node), UID: types.UID(node)},
		corev1.EventTypeWarning, reasonAddressRefused, message)
	return apierrors.NewServiceUnavailable(message)
}
