// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"net/http"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func columns(t testing.TB, table metav1.Table, priority int32) []string {
	t.Helper()
	var names []string
	for _, c := range table.ColumnDefinitions {
		if c.Priority <= priority {
			names = append(names, c.Name)
		}
	}
	return names
}

func TestTableOfPods(t *testing.T) {
	p := sharedPlane(t)
	ns := p.namespace(t)
	must(p.createPod(t, ns, pod("one"), metav1.CreateOptions{}))(t)
	for _, path := range []string{"/api/v1/namespaces/" + ns + "/pods", "/api/v1/namespaces/" + ns + "/pods/one"} {
		var table metav1.Table
		unmarshal(t, p.get(t, path, "Accept: application/json;as=Table;g=meta.k8s.io;v=v1").want(t, http.StatusOK).body, &table)
		if table.Kind != "Table" || len(table.Rows) != 1 {
			t.Fatalf("%s: got a %s with %d rows, want a Table with one", path, table.Kind, len(table.Rows))
		}
		if got, want := columns(t, table, 0), []string{"Name", "Ready", "Status", "Restarts", "Age"}; !slices.Equal(got, want) {
			t.Errorf("columns %q, want %q", got, want)
		}
		if got, want := columns(t, table, 1), []string{"Name", "Ready", "Status", "Restarts", "Age", "IP", "Node", "Nominated Node", "Readiness Gates"}; !slices.Equal(got, want) {
			t.Errorf("wide columns %q, want %q", got, want)
		}
		if got, want := table.Rows[0].Cells[:3], []any{"one", "0/1", "Pending"}; !slices.Equal(got, want) {
			t.Errorf("cells %v, want %v", got, want)
		}
	}
}

// TestTableOfEachGroup: other resources than pods have upstream's printers, too.
func TestTableOfEachGroup(t *testing.T) {
	p := sharedPlane(t)
	for path, want := range map[string]string{
		"/api/v1/nodes":             "Roles",
		"/apis/apps/v1/deployments": "Up-to-date",
		"/apis/batch/v1/cronjobs":   "Schedule",
		"/apis/rbac.authorization.k8s.io/v1/clusterrolebindings":            "Role",
		"/apis/apiregistration.k8s.io/v1/apiservices":                       "Available",
		"/apis/apiextensions.k8s.io/v1/customresourcedefinitions":           "Created At",
		"/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas":                 "MatchingPrecedence",
		"/apis/discovery.k8s.io/v1/endpointslices":                          "AddressType",
		"/apis/coordination.k8s.io/v1/leases":                               "Holder",
		"/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies": "Validations",
	} {
		var table metav1.Table
		unmarshal(t, p.get(t, path, "Accept: application/json;as=Table;g=meta.k8s.io;v=v1").want(t, http.StatusOK).body, &table)
		if got := columns(t, table, 1); !slices.Contains(got, want) {
			t.Errorf("%s: got columns %q, want those of the printer", path, got)
		}
	}
}

func TestPartialMetadata(t *testing.T) {
	p := sharedPlane(t)
	ns := p.namespace(t)
	must(p.createPod(t, ns, pod("one"), metav1.CreateOptions{}))(t)
	var list metav1.PartialObjectMetadataList
	unmarshal(t, p.get(t, "/api/v1/namespaces/"+ns+"/pods", "Accept: application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1").want(t, http.StatusOK).body, &list)
	if list.Kind != "PartialObjectMetadataList" || len(list.Items) != 1 || list.Items[0].Name != "one" {
		t.Errorf("got %+v, want the metadata of one pod", list)
	}
}
