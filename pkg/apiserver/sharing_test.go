// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubembed/kubembed/pkg/apiserver"
)

// TestServersOfOneProcess: servers with different resources, which share routes, printers
// and names of definitions, have the same documents for the same APIs, and objects of
// their own.
func TestServersOfOneProcess(t *testing.T) {
	first := startPlane(t)
	second := startPlane(t, func(c *apiserver.Config) {
		c.RuntimeConfig = map[string]string{"apps/v1": "false", "resource.k8s.io/v1beta2": "true"}
	})
	one := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "one"}, Data: map[string]string{"a": "", "b": ""}}
	must(first.admin().CoreV1().ConfigMaps("default").Create(t.Context(), one, metav1.CreateOptions{}))(t)
	second.get(t, "/api/v1/namespaces/default/configmaps/one").want(t, http.StatusNotFound)
	second.get(t, "/apis/apps/v1/deployments").want(t, http.StatusNotFound)
	first.get(t, "/apis/apps/v1/deployments").want(t, http.StatusOK)
	first.get(t, "/apis/resource.k8s.io/v1beta2/deviceclasses").want(t, http.StatusNotFound)
	second.get(t, "/apis/resource.k8s.io/v1beta2/deviceclasses").want(t, http.StatusOK)
	for _, document := range []string{"/openapi/v3/api/v1", "/openapi/v3/apis/batch/v1", "/openapi/v3/apis/rbac.authorization.k8s.io/v1"} {
		a, b := first.get(t, document).want(t, http.StatusOK), second.get(t, document).want(t, http.StatusOK)
		if a.body != b.body || !strings.Contains(a.body, `"pretty"`) {
			t.Errorf("%s has %d bytes in one server and %d in the other, want equal documents with parameters", document, len(a.body), len(b.body))
		}
	}
	table := first.get(t, "/api/v1/namespaces/default/configmaps/one", "Accept: application/json;as=Table;v=v1;g=meta.k8s.io").want(t, http.StatusOK)
	if !strings.Contains(table.body, `"cells":["one",2,`) {
		t.Errorf("got the table %s, want a row with the number of entries", table.body)
	}
}
