// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kubeoptions "k8s.io/kubernetes/pkg/kubeapiserver/options"

	"github.com/kubembed/kubembed/internal/apiserver/servicecidr"
	"github.com/kubembed/kubembed/pkg/pki"
)

// Network configures Services and the addresses of the server, beside
// Config.ServiceCIDR.
type Network struct {
	// SecondaryServiceCIDR is a second range of Service cluster IPs, for dual-stack
	// clusters: the second range of kube-apiserver's --service-cluster-ip-range. It has
	// the other IP family, and the limits of Config.ServiceCIDR, whose family stays the
	// default and that of the kubernetes Service. It may be added to existing data: new
	// Services can then have two addresses. After that it must not change. If empty,
	// Services have one family.
	SecondaryServiceCIDR string
	// ServiceNodePortRange is the range of node ports, like "30000-32767". Existing
	// Services keep ports that are out of a new range. See kube-apiserver's
	// --service-node-port-range. If empty, "30000-32767", upstream's default.
	ServiceNodePortRange string
	// ExternalHost is a host name or an IP address, optionally with a port, that the
	// server gives to its clients: in the discovery of /api, and in the URL of the keys
	// of service-account tokens. It is kube-apiserver's --external-hostname. The serving
	// certificate must have it; package controlplane adds it. If empty, the advertised
	// address. Without a port, that of the listener.
	ExternalHost string
	// DisableEndpoints leaves the endpoints of the kubernetes Service to the host, like
	// kube-apiserver's --endpoint-reconciler-type=none. Endpoints of an earlier start
	// stay. If false, the server writes its advertised address.
	DisableEndpoints bool
	// KubernetesServicePorts are further ports of the kubernetes Service, beside https at
	// 443, and of its endpoints. TargetPort is a port of the advertised address, by
	// number; if zero, it is Port. NodePort must be zero. Servers that share an etcd must
	// have the same. The server adds these ports to an existing Service. A port there
	// with the same protocol and number gets the new name; others stay. The log has
	// errors: a policy of the cluster can refuse the change. If empty, there are none.
	KubernetesServicePorts []corev1.ServicePort
}

// Clone returns a deep copy.
func (n Network) Clone() Network {
	n.KubernetesServicePorts = slices.Clone(n.KubernetesServicePorts)
	for i := range n.KubernetesServicePorts {
		n.KubernetesServicePorts[i] = *n.KubernetesServicePorts[i].DeepCopy()
	}
	return n
}

func (n Network) validate(at *field.Path) (errs field.ErrorList) {
	if n.ServiceNodePortRange != "" {
		if _, err := n.nodePorts(); err != nil {
			errs = append(errs, field.Invalid(at.Child("ServiceNodePortRange"), n.ServiceNodePortRange, err.Error()))
		}
	}
	if n.ExternalHost != "" && !validExternalHost(n.ExternalHost) {
		errs = append(errs, field.Invalid(at.Child("ExternalHost"), n.ExternalHost, `must be a DNS name or an IP address, and optionally a port, like "api.example.com:6443"`))
	}
	return append(errs, validateServicePorts(at.Child("KubernetesServicePorts"), n.KubernetesServicePorts)...)
}

// nodePorts returns the range of node ports.
func (n Network) nodePorts() (utilnet.PortRange, error) {
	if n.ServiceNodePortRange == "" {
		return kubeoptions.DefaultServiceNodePortRange, nil
	}
	ports, err := utilnet.ParsePortRange(n.ServiceNodePortRange)
	switch {
	case err != nil:
		return utilnet.PortRange{}, fmt.Errorf("must be a range of ports like %q: %w", kubeoptions.DefaultServiceNodePortRange.String(), err)
	case ports.Base < 1:
		return utilnet.PortRange{}, fmt.Errorf("must begin at port 1 or higher, like %q", kubeoptions.DefaultServiceNodePortRange.String())
	}
	return *ports, nil
}

func validExternalHost(host string) bool {
	if name, port, err := net.SplitHostPort(host); err == nil {
		if number, err := strconv.ParseUint(port, 10, 16); err != nil || number == 0 {
			return false
		}
		host = name
	}
	return pki.Config{Hosts: []string{host}}.Validate() == nil
}

func validateServicePorts(at *field.Path, ports []corev1.ServicePort) (errs field.ErrorList) {
	type socket struct {
		protocol corev1.Protocol
		port     int32
	}
	names := map[string]bool{kubernetesServicePortName: true}
	sockets := map[socket]bool{{corev1.ProtocolTCP, kubernetesServicePort}: true}
	for i, port := range ports {
		at := at.Index(i)
		switch {
		case len(validation.IsDNS1123Label(port.Name)) > 0:
			errs = append(errs, field.Invalid(at.Child("Name"), port.Name, `must be a DNS label, like "metrics": each port of the kubernetes Service has a name`))
		case names[port.Name]:
			errs = append(errs, field.Duplicate(at.Child("Name"), port.Name))
		}
		names[port.Name] = true
		switch port.Protocol {
		case "":
			port.Protocol = corev1.ProtocolTCP
		case corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP:
		default:
			errs = append(errs, field.NotSupported(at.Child("Protocol"), port.Protocol, []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP}))
		}
		if port.AppProtocol != nil && len(validation.IsQualifiedName(*port.AppProtocol)) > 0 {
			errs = append(errs, field.Invalid(at.Child("AppProtocol"), *port.AppProtocol, "must be a qualified name"))
		}
		switch {
		case len(validation.IsValidPortNum(int(port.Port))) > 0:
			errs = append(errs, field.Invalid(at.Child("Port"), port.Port, "must be a port from 1 to 65535"))
		case sockets[socket{port.Protocol, port.Port}]:
			errs = append(errs, field.Duplicate(at.Child("Port"), port.Port))
		}
		sockets[socket{port.Protocol, port.Port}] = true
		if port.TargetPort.StrVal != "" || port.TargetPort.IntVal < 0 || port.TargetPort.IntVal > 65535 {
			errs = append(errs, field.Invalid(at.Child("TargetPort"), port.TargetPort.String(), "must be the number of a port; zero is the number of Port"))
		}
		if port.NodePort != 0 {
			errs = append(errs, field.Forbidden(at.Child("NodePort"), "the kubernetes Service has type ClusterIP: leave it zero"))
		}
	}
	return errs
}

// serviceRanges returns the ranges of Service cluster IPs.
func (c Config) serviceRanges() servicecidr.Ranges {
	ranges := servicecidr.Ranges{c.ServiceCIDR}
	if c.Network.SecondaryServiceCIDR != "" {
		_, secondary, err := net.ParseCIDR(c.Network.SecondaryServiceCIDR)
		if err == nil { // as validated
			ranges = append(ranges, secondary)
		}
	}
	return ranges
}

// validateSecondary checks the second range of Services against the first one.
func (c Config) validateSecondary() field.ErrorList {
	if c.Network.SecondaryServiceCIDR == "" {
		return nil
	}
	primary := c.ServiceCIDR
	if primary == nil {
		primary = defaultServiceCIDR()
	}
	_, errs := servicecidr.ParseSecondary(field.NewPath("Network", "SecondaryServiceCIDR"), field.NewPath("ServiceCIDR"), c.Network.SecondaryServiceCIDR, primary)
	return errs
}

// addFlags adds kube-apiserver's flags for n.
func (n Network) addFlags(flags map[string]string) {
	flags["external-hostname"] = n.ExternalHost
	flags["service-node-port-range"] = cmp.Or(n.ServiceNodePortRange, kubeoptions.DefaultServiceNodePortRange.String())
}
