package controlplane_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

// TestRestoreForgetsServers: the lease of the API server that ran when the snapshot was
// taken is left out. The first start would log that it had crashed.
func TestRestoreForgetsServers(t *testing.T) {
	server := start(t, controlplane.Config{})
	endpoints := admin(t, server).DiscoveryV1().EndpointSlices(metav1.NamespaceDefault)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if slice, err := endpoints.Get(t.Context(), "kubernetes", metav1.GetOptions{}); err == nil && len(slice.Endpoints) > 0 {
			break // the lease is written before it
		} else if time.Now().After(deadline) {
			t.Fatal("no endpoints: ", err)
		}
	}
	snapshot := snapshotOf(t, server)
	for _, keep := range []bool{false, true} {
		keys := storedKeys(t, restored(t, snapshot, controlplane.RestoreConfig{KeepJoinKubeconfigs: keep}))
		if i := slices.IndexFunc(keys, func(key string) bool { return strings.HasPrefix(key, "masterleases/") }); i >= 0 {
			t.Errorf("KeepJoinKubeconfigs %v: %s is there", keep, keys[i])
		}
		if !slices.Contains(keys, "services/specs/default/kubernetes") {
			t.Errorf("KeepJoinKubeconfigs %v: the kubernetes Service is lost", keep)
		}
	}
}
