// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"net/http"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/apiserver"
)

// TestGroupsSwitchedOffAndOn verifies discovery, OpenAPI and requests for groups,
// versions and resources that RuntimeConfig disables and enables.
func TestGroupsSwitchedOffAndOn(t *testing.T) {
	p := startPlane(t, func(c *apiserver.Config) {
		c.RuntimeConfig = map[string]string{
			"apps/v1":                     "false",
			"batch/v1/cronjobs":           "false",
			"certificates.k8s.io/v1beta1": "true",
			"resource.k8s.io/v1beta2":     "true",
		}
	})
	p.get(t, "/readyz").want(t, http.StatusOK)
	p.get(t, "/apis/apps/v1/deployments").want(t, http.StatusNotFound)
	p.get(t, "/apis/apps").want(t, http.StatusNotFound)
	groups := must(discovery.NewDiscoveryClientForConfigOrDie(p.ClientConfig()).ServerGroups())(t)
	legacy := discovery.NewDiscoveryClientForConfigOrDie(p.ClientConfig())
	legacy.UseLegacyDiscovery = true
	for _, groups := range []*metav1.APIGroupList{groups, must(legacy.ServerGroups())(t)} {
		versions := metav1.ExtractGroupVersions(groups)
		if slices.Contains(versions, "apps/v1") {
			t.Error("apps/v1 is in discovery, want it disabled")
		}
		for _, want := range []string{"batch/v1", "certificates.k8s.io/v1", "certificates.k8s.io/v1beta1", "resource.k8s.io/v1beta2"} {
			if !slices.Contains(versions, want) {
				t.Errorf("got versions %[2]q, want %[1]s among them", want, versions)
			}
		}
	}
	p.get(t, "/apis/batch/v1/jobs").want(t, http.StatusOK)
	p.get(t, "/apis/batch/v1/cronjobs").want(t, http.StatusNotFound)
	p.get(t, "/apis/certificates.k8s.io/v1beta1/clustertrustbundles").want(t, http.StatusOK)
	p.get(t, "/apis/resource.k8s.io/v1beta2/deviceclasses").want(t, http.StatusOK)
	p.get(t, "/openapi/v3/apis/apps/v1").want(t, http.StatusNotFound)
	p.get(t, "/openapi/v3/apis/certificates.k8s.io/v1beta1").want(t, http.StatusOK)
}

// TestReducedPlane starts the smallest control plane: pods and nodes only.
func TestReducedPlane(t *testing.T) {
	p := startPlane(t, func(c *apiserver.Config) {
		c.RuntimeConfig = map[string]string{"api/all": "false", "v1": "true"}
	})
	ctx := t.Context()
	p.get(t, "/readyz").want(t, http.StatusOK)
	core := p.admin().CoreV1()
	must(core.Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "worker"}}, metav1.CreateOptions{}))(t)
	bound := pod("p")
	bound.Spec.NodeName = "worker"
	must(core.Pods("default").Create(ctx, bound, metav1.CreateOptions{}))(t)
	// A kubelet of that node can read its pod.
	worker := p.node(t, "worker").CoreV1()
	testwait.Until(t, "the node sees its pod", func(context.Context) error {
		_, err := worker.Pods("default").Get(ctx, "p", metav1.GetOptions{})
		return err
	})
	_, err := p.node(t, "other").CoreV1().Pods("default").Get(ctx, "p", metav1.GetOptions{})
	wantForbidden(t, "the pod of another node", err)
	p.get(t, "/apis/apps/v1/deployments").want(t, http.StatusNotFound)
	p.get(t, "/apis/rbac.authorization.k8s.io/v1/clusterroles").want(t, http.StatusNotFound)
	p.get(t, "/openapi/v2").want(t, http.StatusOK)
	var versions metav1.APIVersions
	unmarshal(t, p.get(t, "/api").want(t, http.StatusOK).body, &versions)
	if len(versions.Versions) != 1 || versions.Versions[0] != "v1" {
		t.Errorf("got versions %q, want v1 only", versions.Versions)
	}
}
