// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package hollownode

import (
	"math"
	"net/netip"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// ipAllocator allocates IP addresses to pods.
type ipAllocator struct {
	mu            sync.Mutex
	used          map[netip.Addr]types.UID
	lastAllocated map[netip.Prefix]netip.Addr
}

func newIPAllocator() *ipAllocator {
	return &ipAllocator{used: map[netip.Addr]types.UID{}, lastAllocated: map[netip.Prefix]netip.Addr{}}
}

// observe marks the addresses of pod as used.
func (a *ipAllocator) observe(pod *corev1.Pod) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, ip := range addresses(pod) {
		if _, taken := a.used[ip]; !taken {
			a.used[ip] = pod.UID
		}
	}
}

// release frees addresses of the pod with that UID.
func (a *ipAllocator) release(uid types.UID, ips ...netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, ip := range ips {
		if a.used[ip] == uid {
			delete(a.used, ip)
		}
	}
}

// allocate allocates a free address to the pod with that UID. It reports false if there
// is none.
func (a *ipAllocator) allocate(uid types.UID, prefix netip.Prefix) (netip.Addr, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	prefix = prefix.Masked()
	// The first address is the network, the second its gateway, the last its broadcast
	// address. The loop skips the first.
	usable := size(prefix) - 3
	ip, ok := a.lastAllocated[prefix]
	if !ok {
		ip = prefix.Addr().Next()
	}
	for range int(min(usable, float64(len(a.used)+1))) {
		if ip = ip.Next(); !prefix.Contains(ip.Next()) {
			ip = prefix.Addr().Next().Next()
		}
		if _, taken := a.used[ip]; !taken {
			a.used[ip] = uid
			a.lastAllocated[prefix] = ip
			return ip, true
		}
	}
	return netip.Addr{}, false
}

// addresses returns the addresses of a pod, except for the host network.
func addresses(pod *corev1.Pod) []netip.Addr {
	if pod.Spec.HostNetwork {
		return nil
	}
	var list []netip.Addr
	for _, ip := range pod.Status.PodIPs {
		if parsed, err := netip.ParseAddr(ip.IP); err == nil {
			list = append(list, parsed)
		}
	}
	return list
}

// size returns the number of addresses in prefix.
func size(prefix netip.Prefix) float64 {
	return math.Exp2(float64(prefix.Addr().BitLen() - prefix.Bits()))
}
