package hollownode

import (
	"math"
	"net/netip"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// ips knows which pod has which address.
type ips struct {
	mu   sync.Mutex
	used map[netip.Addr]types.UID
	last map[netip.Prefix]netip.Addr
}

func newIPs() *ips {
	return &ips{used: map[netip.Addr]types.UID{}, last: map[netip.Prefix]netip.Addr{}}
}

// note keeps the addresses that pod has.
func (i *ips) note(pod *corev1.Pod) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, ip := range addresses(pod) {
		if _, taken := i.used[ip]; !taken {
			i.used[ip] = pod.UID
		}
	}
}

// release gives up what was taken for the pod with that UID.
func (i *ips) release(uid types.UID, ips ...netip.Addr) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, ip := range ips {
		if i.used[ip] == uid {
			delete(i.used, ip)
		}
	}
}

// take finds an address for the pod with that UID. It reports false when there
// is none left.
func (i *ips) take(uid types.UID, prefix netip.Prefix) (netip.Addr, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	prefix = prefix.Masked()
	// The first is the network, the second its gateway, the last its broadcast
	// address: the first is skipped below, and of the others there are at most two.
	usable := size(prefix) - 3
	ip, ok := i.last[prefix]
	if !ok {
		ip = prefix.Addr().Next()
	}
	for range int(min(usable, float64(len(i.used)+1))) {
		if ip = ip.Next(); !prefix.Contains(ip.Next()) {
			ip = prefix.Addr().Next().Next()
		}
		if _, taken := i.used[ip]; !taken {
			i.used[ip] = uid
			i.last[prefix] = ip
			return ip, true
		}
	}
	return netip.Addr{}, false
}

// addresses are those that a pod has of its own.
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

// size is how many addresses are in prefix.
func size(prefix netip.Prefix) float64 {
	return math.Exp2(float64(prefix.Addr().BitLen() - prefix.Bits()))
}
