// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery/fake"
	clienttesting "k8s.io/client-go/testing"
)

// TestRESTMapperDiscovers: changes of APIs and unknown kinds are discovered. Requests
// about unknown kinds, or a slow discovery, do not make the server discover its APIs all
// the time.
func TestRESTMapperDiscovers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client := &fake.FakeDiscovery{Fake: &clienttesting.Fake{}}
		serve := func(kinds ...string) {
			client.Resources = []*metav1.APIResourceList{{GroupVersion: "example.com/v1"}}
			for _, kind := range kinds {
				client.Resources[0].APIResources = append(client.Resources[0].APIResources, metav1.APIResource{Name: "all-" + kind, Kind: kind})
			}
		}
		var defined uint64
		mapper := NewRESTMapper(client, func() uint64 { return defined })
		slow := time.Duration(0)
		client.PrependReactor("get", "group", func(clienttesting.Action) (bool, runtime.Object, error) {
			time.Sleep(slow)
			return false, nil, nil
		})
		discoveries := func() (count int) {
			for _, action := range client.Actions() {
				if action.GetResource().Resource == "group" {
					count++
				}
			}
			client.ClearActions()
			return count
		}
		ask := func(kind string, known bool, want int) {
			t.Helper()
			for range 100 {
				_, err := mapper.RESTMapping(schema.GroupKind{Group: "example.com", Kind: kind}, "v1")
				if known && err != nil || !known && !meta.IsNoMatchError(err) {
					t.Fatalf("kind %s: got error %v", kind, err)
				}
			}
			if got := discoveries(); got != want {
				t.Errorf("kind %s: %d discoveries for a hundred requests, want %d", kind, got, want)
			}
		}

		serve("Widget")
		ask("Widget", true, 1)
		ask("Gadget", false, 0)
		time.Sleep(2 * time.Second)
		ask("Widget", true, 0)
		ask("Gadget", false, 1)
		time.Sleep(time.Second)
		ask("Gadget", false, 0) // the age grows
		serve("Widget", "Gadget")
		defined++
		ask("Gadget", true, 1)
		serve("Gadget")
		ask("Widget", true, 0)
		mapper.Reset()
		ask("Widget", false, 1)
		serve()
		time.Sleep(time.Minute)
		ask("Gadget", false, 1)
		// A slow discovery does not make the next one due.
		defined++
		slow = time.Minute
		ask("Gadget", false, 1)
		defined++
		ask("Gadget", false, 0)
		time.Sleep(discoveryShare * slow)
		ask("Gadget", false, 1)
	})
}
