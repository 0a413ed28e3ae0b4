// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package servicecidr

import (
	"fmt"
	"net"
	"net/netip"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/kubembed/kubembed/internal/fieldpath"
)

// unusable are the ranges whose addresses no Service can have: nodes do not forward
// packets to them, or send them to many receivers.
var unusable = []struct {
	prefix    netip.Prefix
	addresses string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "unspecified addresses"},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback addresses"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local addresses"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast addresses"},
	{netip.MustParsePrefix("255.255.255.255/32"), "the broadcast address"},
	{netip.MustParsePrefix("::/127"), "the unspecified and the loopback address"},
	{netip.MustParsePrefix("fe80::/10"), "link-local addresses"},
	{netip.MustParsePrefix("ff00::/8"), "multicast addresses"},
}

// Validate refuses ranges that make upstream end the process, that its allocator does not
// support, or whose addresses clients cannot connect to. A nil range is valid.
func Validate(path *field.Path, cidr *net.IPNet) field.ErrorList {
	if cidr == nil {
		return nil
	}
	invalid := func(format string, args ...any) field.ErrorList {
		return field.ErrorList{field.Invalid(path, cidr.String(), fmt.Sprintf(format, args...))}
	}
	ones, bits := cidr.Mask.Size()
	if cidr.IP.To4() != nil && bits == 128 {
		return invalid("must not be a range of IPv4-mapped IPv6 addresses: write it as an IPv4 range, like %q", Default)
	}
	prefix, err := netip.ParsePrefix(cidr.String())
	if err != nil {
		return invalid("must be an IP range like %q", Default)
	}
	switch {
	case bits-ones < 3:
		return invalid("must hold at least 8 addresses")
	case bits == 128 && ones < 64:
		return invalid("an IPv6 range must be /64 or smaller")
	case prefix != prefix.Masked():
		return invalid("must begin with the first address of the range: write %q", prefix.Masked())
	}
	for _, other := range unusable {
		if prefix.Overlaps(other.prefix) {
			return invalid("must not contain %s (%s): choose a private range, like %q", other.addresses, other.prefix, Default)
		}
	}
	return nil
}

// ParseSecondary parses the second range of a dual-stack cluster, and refuses one of the
// family of primary, which may be nil if it is not known.
func ParseSecondary(path, primaryPath *field.Path, text string, primary *net.IPNet) (*net.IPNet, field.ErrorList) {
	_, cidr, err := net.ParseCIDR(text)
	if err != nil {
		return nil, field.ErrorList{field.Invalid(path, text, `must be an IP range like "fd00::/108"`)}
	}
	if errs := Validate(path, cidr); len(errs) > 0 {
		return nil, errs
	}
	if primary != nil && (primary.IP.To4() == nil) == (cidr.IP.To4() == nil) {
		return nil, field.ErrorList{fieldpath.Detail(field.Invalid(path, text, ""), "must be of the other IP family than %s, which is %s: a Service has at most one address of each",
			fieldpath.NameOf(primaryPath), primary)}
	}
	return cidr, nil
}
