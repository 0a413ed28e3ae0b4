// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/kubernetes/pkg/controlplane"
)

const aggregatedDiscovery = "Accept: application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

// defaultGroupVersions returns the group versions that kube-apiserver serves by default.
func defaultGroupVersions() []string {
	all := []string{"apiextensions.k8s.io/v1", "apiregistration.k8s.io/v1"}
	for gv, enabled := range controlplane.DefaultAPIResourceConfigSource().GroupVersionConfigs {
		if enabled {
			all = append(all, gv.String())
		}
	}
	slices.Sort(all)
	return all
}

// known removes the groups that other tests have added to the shared plane.
func known(t testing.TB, got []string) []string {
	t.Helper()
	slices.Sort(got)
	return slices.DeleteFunc(got, func(gv string) bool {
		parsed, err := schema.ParseGroupVersion(gv)
		if err != nil {
			t.Error(err)
		}
		return strings.HasSuffix(parsed.Group, ".example.com")
	})
}

func wantEqual(t testing.TB, what string, got, want []string) {
	t.Helper()
	for _, s := range want {
		if !slices.Contains(got, s) {
			t.Errorf("%s: %s is missing", what, s)
		}
	}
	for _, s := range got {
		if !slices.Contains(want, s) {
			t.Errorf("%s: %s is unexpected", what, s)
		}
	}
}

func TestLegacyDiscovery(t *testing.T) {
	p := sharedPlane(t)
	var versions metav1.APIVersions
	unmarshal(t, p.get(t, "/api").want(t, http.StatusOK).body, &versions)
	got := slices.Clone(versions.Versions)
	var groups metav1.APIGroupList
	unmarshal(t, p.get(t, "/apis").want(t, http.StatusOK).body, &groups)
	for _, group := range groups.Groups {
		for _, version := range group.Versions {
			got = append(got, version.GroupVersion)
		}
	}
	wantEqual(t, "/api and /apis", known(t, got), defaultGroupVersions())

	// The list of all resources must contain the resources of each group version.
	for _, gv := range defaultGroupVersions() {
		if resources, err := p.admin().Discovery().ServerResourcesForGroupVersion(gv); err != nil || len(resources.APIResources) == 0 {
			t.Errorf("%s: got error %v or no resources", gv, err)
		}
	}
}

func TestResourcesOfAGroup(t *testing.T) {
	p := sharedPlane(t)
	var list metav1.APIResourceList
	unmarshal(t, p.get(t, "/apis/apps/v1").want(t, http.StatusOK).body, &list)
	i := slices.IndexFunc(list.APIResources, func(r metav1.APIResource) bool { return r.Name == "deployments" })
	if i < 0 {
		t.Fatalf("deployments are missing in %v", list.APIResources)
	}
	d := list.APIResources[i]
	if d.Kind != "Deployment" || !d.Namespaced || !slices.Equal(d.ShortNames, []string{"deploy"}) || !slices.Contains(d.Verbs, "watch") || !slices.Contains(d.Categories, "all") {
		t.Errorf("got %+v, want the resource of Deployments", d)
	}
	p.get(t, "/apis/apps/v2").want(t, http.StatusNotFound)
	p.get(t, "/apis/unknown.example.org").want(t, http.StatusNotFound)
}

func TestAggregatedDiscovery(t *testing.T) {
	p := sharedPlane(t)
	var got []string
	for _, path := range []string{"/api", "/apis"} {
		a := p.get(t, path, aggregatedDiscovery).want(t, http.StatusOK)
		if a.header.Get("ETag") == "" {
			t.Errorf("%s: got no ETag", path)
		}
		p.get(t, path, aggregatedDiscovery, "If-None-Match: "+a.header.Get("ETag")).want(t, http.StatusNotModified)
		var list apidiscoveryv2.APIGroupDiscoveryList
		unmarshal(t, a.body, &list)
		for _, group := range list.Items {
			for _, version := range group.Versions {
				gv := schema.GroupVersion{Group: group.Name, Version: version.Version}
				got = append(got, gv.String())
				if !slices.Contains(defaultGroupVersions(), gv.String()) {
					continue
				}
				if len(version.Resources) == 0 || version.Freshness != apidiscoveryv2.DiscoveryFreshnessCurrent {
					t.Errorf("%s: got %d resources, %s, want current ones", gv, len(version.Resources), version.Freshness)
				}
			}
		}
	}
	wantEqual(t, "aggregated discovery", known(t, got), defaultGroupVersions())
}

// TestBothKindsOfDiscoveryAgree: client-go requests aggregated discovery, older clients
// request the legacy one.
func TestBothKindsOfDiscoveryAgree(t *testing.T) {
	p := sharedPlane(t)
	names := func(client discovery.DiscoveryInterface) []string {
		_, lists, err := client.ServerGroupsAndResources()
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, list := range lists {
			gv, err := schema.ParseGroupVersion(list.GroupVersion)
			if err != nil {
				t.Error(err)
			}
			if slices.Contains(defaultGroupVersions(), gv.String()) {
				for _, r := range list.APIResources {
					names = append(names, gv.String()+" "+r.Name)
				}
			}
		}
		return names
	}
	aggregated := discovery.NewDiscoveryClientForConfigOrDie(p.ClientConfig())
	legacy := discovery.NewDiscoveryClientForConfigOrDie(p.ClientConfig())
	legacy.UseLegacyDiscovery = true
	want := names(legacy)
	wantEqual(t, "aggregated discovery", names(aggregated), want)
	if len(want) < 60 {
		t.Errorf("only %d resources", len(want))
	}
}

// TestOrderOfGroups: the order determines the groups that kubectl prefers, and is
// kube-apiserver's.
func TestOrderOfGroups(t *testing.T) {
	p := sharedPlane(t)
	var legacy metav1.APIGroupList
	unmarshal(t, p.get(t, "/apis").want(t, http.StatusOK).body, &legacy)
	var aggregated apidiscoveryv2.APIGroupDiscoveryList
	unmarshal(t, p.get(t, "/apis", aggregatedDiscovery).want(t, http.StatusOK).body, &aggregated)
	var orders [2][]string
	for _, group := range legacy.Groups {
		orders[0] = append(orders[0], group.Name)
		if group.Name == "autoscaling" && group.PreferredVersion.Version != "v2" {
			t.Errorf("got autoscaling/%s as the preferred version, want v2", group.PreferredVersion.Version)
		}
	}
	for _, group := range aggregated.Items {
		orders[1] = append(orders[1], group.Name)
	}
	for _, order := range orders {
		at := -1
		// The order of kube-apiserver 1.36.
		for _, name := range []string{
			"apiregistration.k8s.io", "apps", "events.k8s.io", "authentication.k8s.io", "authorization.k8s.io", "autoscaling", "batch",
			"certificates.k8s.io", "networking.k8s.io", "policy", "rbac.authorization.k8s.io", "storage.k8s.io",
			"admissionregistration.k8s.io", "apiextensions.k8s.io", "scheduling.k8s.io", "coordination.k8s.io", "node.k8s.io",
			"discovery.k8s.io",
		} {
			i := slices.Index(order, name)
			if i <= at {
				t.Errorf("%s: got position %d in %q, want a later one", name, i, order)
			}
			at = i
		}
	}
}

func unmarshal(t testing.TB, body string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(body), into); err != nil {
		t.Fatalf("%v: %.500s", err, body)
	}
}
