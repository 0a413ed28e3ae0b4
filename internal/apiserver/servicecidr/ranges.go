// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package servicecidr

import (
	"net"
	"strings"
)

// Ranges are the ranges of Service cluster IPs: the first one, whose family is the
// default, and in a dual-stack cluster one of the other family.
type Ranges []*net.IPNet

// Texts returns the ranges as they are in a ServiceCIDR.
func (r Ranges) Texts() []string {
	texts := make([]string, len(r))
	for i, cidr := range r {
		texts[i] = cidr.String()
	}
	return texts
}

// Secondary returns the second range, or a zero IPNet.
func (r Ranges) Secondary() net.IPNet {
	if len(r) < 2 {
		return net.IPNet{}
	}
	return *r[1]
}

func (r Ranges) String() string { return strings.Join(r.Texts(), ",") }
