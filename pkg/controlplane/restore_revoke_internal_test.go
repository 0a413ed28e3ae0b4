// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"

	etcdrestore "github.com/kubembed/kubembed/internal/etcd/restore"
)

// TestRestoreForgetsServers: leases of API servers that ran when the snapshot was taken
// are left out. Custom resources may have such names.
func TestRestoreForgetsServers(t *testing.T) {
	lease := &corev1.Endpoints{Subsets: []corev1.EndpointSubset{{Addresses: []corev1.EndpointAddress{{IP: "192.0.2.1"}}}}} //nolint:staticcheck // what upstream stores
	codec := scheme.Codecs.CodecForVersions(protobuf.NewSerializer(scheme.Scheme, scheme.Scheme), nil, corev1.SchemeGroupVersion, nil)
	value, err := runtime.Encode(codec, lease)
	if err != nil {
		t.Fatal(err)
	}
	for _, keep := range []bool{false, true} {
		var c etcdrestore.Config
		new(invalidated).apply(&c, keep)
		if !c.Drop([]byte("/registry/masterleases/192.0.2.1"), value) {
			t.Errorf("KeepJoinKubeconfigs %v: got the lease kept, want it dropped", keep)
		}
		custom := `{"apiVersion":"example.com/v1","kind":"MasterLease","metadata":{"name":"x"}}`
		if c.Drop([]byte("/registry/example.com/masterleases/x"), []byte(custom)) {
			t.Errorf("KeepJoinKubeconfigs %v: got a custom resource dropped, want it kept", keep)
		}
		if c.Drop([]byte("/registry/services/endpoints/default/kubernetes"), value) {
			t.Errorf("KeepJoinKubeconfigs %v: got endpoints dropped, want them kept", keep)
		}
	}
}
