// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/kubembed/kubembed/internal/apiserver/access"
	"github.com/kubembed/kubembed/internal/apiserver/serving"
	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/internal/hostcall"
	"github.com/kubembed/kubembed/internal/nils"
	"github.com/kubembed/kubembed/pkg/pki"
)

// Validate returns one error with all invalid fields and their names.
func (c Config) Validate() error {
	var errs field.ErrorList
	errs = append(errs, c.validateListener()...)
	c = c.clone()
	bind, err := parseAddress("BindAddress", c.BindAddress)
	errs = append(errs, err...)
	if c.InsecureAddr != "" {
		insecure, err := parseAddress("InsecureAddr", c.InsecureAddr)
		errs = append(errs, err...)
		if insecure.Port() != 0 && insecure == bind {
			errs = append(errs, fieldpath.Detail(field.Invalid(field.NewPath("InsecureAddr"), c.InsecureAddr, ""), "the same as %s: choose another port", fieldpath.Name("BindAddress")))
		}
	}
	if c.AdvertiseAddress != "" {
		if ip, err := netip.ParseAddr(c.AdvertiseAddress); err != nil {
			errs = append(errs, field.Invalid(field.NewPath("AdvertiseAddress"), c.AdvertiseAddress, "must be an IP address without a port"))
		} else if plain := ip.Unmap(); plain.IsUnspecified() || plain.IsMulticast() || plain.Zone() != "" {
			errs = append(errs, field.Invalid(field.NewPath("AdvertiseAddress"), c.AdvertiseAddress, "must be an address that workers can connect to"))
		}
	}
	server := c.apiserver()
	if _, cidr, err := net.ParseCIDR(c.ServiceCIDR); err != nil {
		errs = append(errs, fieldpath.Detail(field.Invalid(field.NewPath("ServiceCIDR"), c.ServiceCIDR, ""), `must be an IP range like "10.0.0.0/24"; the second range of dual stack is %s`, fieldpath.Name("Network.SecondaryServiceCIDR")))
	} else {
		server.ServiceCIDR = cidr
	}
	if c.AdvertiseAddress != "" {
		if ip, err := netip.ParseAddr(c.AdvertiseAddress); err == nil && ip.Unmap().IsLinkLocalUnicast() && ip.Zone() == "" {
			server.AdvertiseAddress = ip.AsSlice()
		}
	} else if ip := bind.Addr().Unmap(); ip.IsLinkLocalUnicast() && ip.Zone() == "" {
		server.AdvertiseAddress = ip.AsSlice()
	}
	errs = append(errs, access.ValidateOptional(server)...)
	if c.ClusterSigningDuration < 0 {
		errs = append(errs, field.Invalid(field.NewPath("ClusterSigningDuration"), c.ClusterSigningDuration.String(), "must not be negative; zero is one year"))
	}
	switch path, value := field.NewPath("KubeletSigningDuration"), c.KubeletSigningDuration; {
	case c.ClusterSigningDuration < 0:
	case value < 0:
		errs = append(errs, fieldpath.Detail(field.Invalid(path, value.String(), ""), "must not be negative; zero is 30 days, or %s if that is shorter", fieldpath.Name("ClusterSigningDuration")))
	case value > c.ClusterSigningDuration:
		errs = append(errs, fieldpath.Detail(field.Invalid(path, value.String(), ""), "must not be longer than %s, which is %s", fieldpath.Name("ClusterSigningDuration"), c.ClusterSigningDuration))
	}
	errs = append(errs, c.validateComponents()...)
	errs = append(errs, c.validatePKI(field.NewPath("PKI"))...)
	errs = append(errs, c.Etcd.validate(field.NewPath("Etcd"))...)
	if c.Limits.DisableCompaction && !c.Etcd.external() {
		errs = append(errs, fieldpath.Detail(field.Forbidden(field.NewPath("Limits", "DisableCompaction"), ""), "nothing else compacts the etcd of this process: only with %s", fieldpath.NameOf(field.NewPath("Etcd", "Endpoints"))))
	}
	if c.Etcd.Name != "" && c.DataDir == "" {
		errs = append(errs, fieldpath.Detail(field.Required(field.NewPath("DataDir"), ""), "a member of a cluster (%s) must keep its acknowledged writes", fieldpath.Name("Etcd.Name")))
	}
	errs = append(errs, c.Snapshots.validate(field.NewPath("Snapshots"), c.DataDir)...)
	errs = append(errs, validateSnapshotKey(field.NewPath("SnapshotKey"), c.SnapshotKey)...)
	for i, host := range c.Hosts {
		if err := (pki.Config{Hosts: []string{host}}).Validate(); err != nil {
			errs = append(errs, field.Invalid(field.NewPath("Hosts").Index(i), host, "must be a DNS name or an IP address"))
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("controlplane: invalid Config: %w", fieldpath.Aggregate(errs))
	}
	return nil
}

// validateListener checks that the address of Listener is known.
func (c Config) validateListener() field.ErrorList {
	if c.Listener == nil {
		return nil
	}
	if nils.Is(c.Listener) {
		return field.ErrorList{field.Invalid(field.NewPath("Listener"), field.OmitValueType{}, fmt.Sprintf("is a nil %T: set it, or leave it out", c.Listener))}
	}
	path := field.NewPath("BindAddress")
	if addr, ok := serving.Address(c.Listener); ok {
		if c.BindAddress != "" && c.BindAddress != addr.String() {
			return field.ErrorList{fieldpath.Detail(field.Invalid(path, c.BindAddress, ""), "must be empty: %s is at %s", fieldpath.Name("Listener"), addr)}
		}
		return nil
	}
	if addr, errs := parseAddress("BindAddress", c.BindAddress); c.BindAddress == "" || len(errs) == 0 && addr.Port() == 0 {
		return field.ErrorList{fieldpath.Detail(field.Required(path, ""), "%s is at %q, which is no IP address and port: set those at which clients reach it",
			fieldpath.Name("Listener"), hostcall.Address(c.Listener.Addr).String())}
	}
	return nil
}

// parseAddress accepts IP:port, :port and localhost:port.
func parseAddress(name, value string) (netip.AddrPort, field.ErrorList) {
	invalid := func(detail string) (netip.AddrPort, field.ErrorList) {
		return netip.AddrPort{}, field.ErrorList{field.Invalid(field.NewPath(name), value, detail)}
	}
	host, port, err := net.SplitHostPort(value)
	if err != nil {
		return invalid(`must be an IP address and a port, like "127.0.0.1:6443"`)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return invalid("the port must be a number from 0 to 65535")
	}
	switch host {
	case "":
		host = "0.0.0.0"
	case "localhost":
		host = "127.0.0.1"
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || ip.Unmap().IsMulticast() {
		return invalid("the host must be an IP address of this machine")
	}
	// ::ffff:0.0.0.0 is every IPv4 address, but the system would use ::.
	return netip.AddrPortFrom(ip.Unmap(), uint16(number)), nil
}
