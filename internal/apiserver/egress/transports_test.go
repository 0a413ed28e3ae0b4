// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package egress

import (
	"fmt"
	"net/http"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/lru"

	"github.com/kubembed/kubembed/pkg/pki"
)

// Nodes by the thousand, and their names, do not make the server grow.
func TestKubeletTransportsAreBounded(t *testing.T) {
	identities, err := pki.Open(pki.Config{})
	if err != nil {
		t.Fatal(err)
	}
	evicted := 0
	k := &Kubelets{pki: identities, roots: newKubeletRoots(identities), nodes: corelisters.NewNodeLister(cache.NewIndexer(cache.MetaNamespaceKeyFunc, nil))}
	k.transports = lru.NewWithEvictionFunc(maxNodes, func(_ lru.Key, calls any) {
		calls.(*kubeletTransports).close()
		evicted++
	})
	var first *http.Transport
	for i := range maxNodes + 10 {
		calls, err := k.of(types.NodeName(fmt.Sprintf("n%d", i)), "192.0.2.1", "10250")
		if err != nil {
			t.Fatal(err)
		}
		if transport := calls.verified(); i == 0 {
			first = transport
		}
	}
	if k.transports.Len() != maxNodes || evicted != 10 {
		t.Errorf("%d are kept, %d were evicted", k.transports.Len(), evicted)
	}
	calls, err := k.of("n0", "192.0.2.1", "10250")
	if err != nil || calls.verified() == first {
		t.Errorf("the first was not evicted: %v", err)
	}
	same, err := k.of("n0", "192.0.2.1", "10250")
	if err != nil || same.verified() != calls.verified() {
		t.Errorf("it is not used again: %v", err)
	}
	for name, other := range map[string][2]string{"address": {"192.0.2.2", "10250"}, "port": {"192.0.2.1", "10251"}} {
		if moved, err := k.of("n0", other[0], other[1]); err != nil || moved.verified() == calls.verified() {
			t.Errorf("it is used for another %s: %v", name, err)
		}
	}
}

func BenchmarkKubeletTransports(b *testing.B) {
	identities, err := pki.Open(pki.Config{})
	if err != nil {
		b.Fatal(err)
	}
	k := &Kubelets{pki: identities, roots: newKubeletRoots(identities), nodes: corelisters.NewNodeLister(cache.NewIndexer(cache.MetaNamespaceKeyFunc, nil)), transports: lru.New(1 << 20)}
	b.ReportAllocs()
	for i := range b.N {
		calls, err := k.of(types.NodeName(fmt.Sprintf("n%d", i)), "192.0.2.1", "10250")
		if err != nil {
			b.Fatal(err)
		}
		calls.verified()
	}
}
