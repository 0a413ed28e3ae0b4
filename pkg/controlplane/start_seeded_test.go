// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/zap"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	utilnet "k8s.io/apimachinery/pkg/util/net"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// TestSeededObjectsHaveOwners: a conflict on an object of the start names the upstream
// client that creates it, and later updates are tracked.
func TestSeededObjectsHaveOwners(t *testing.T) {
	t.Parallel()
	server := start(t, controlplane.Config{})
	client := admin(t, server).Discovery().RESTClient()
	for path, test := range map[string]struct{ body, owner string }{
		"/apis/apiregistration.k8s.io/v1/apiservices/v1.apps": {
			`{"apiVersion":"apiregistration.k8s.io/v1","kind":"APIService","spec":{"group":"apps","version":"v1","groupPriorityMinimum":1,"versionPriority":1}}`, "kube-apiserver",
		},
		"/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas/probes": {
			`{"apiVersion":"flowcontrol.apiserver.k8s.io/v1","kind":"FlowSchema","spec":{"matchingPrecedence":3}}`, "api-priority-and-fairness-config-producer-v1",
		},
		"/apis/rbac.authorization.k8s.io/v1/clusterroles/view": {
			`{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","rules":[]}`, "clusterrole-aggregation-controller",
		},
		"/api/v1/namespaces/default/configmaps/kube-root-ca.crt": {
			`{"apiVersion":"v1","kind":"ConfigMap","data":{"ca.crt":"other"}}`, "kube-controller-manager",
		},
	} {
		err := client.Patch(types.ApplyPatchType).AbsPath(path).Param("fieldManager", "other").Body([]byte(test.body)).Do(t.Context()).Error()
		if !apierrors.IsConflict(err) || !strings.Contains(err.Error(), `"`+test.owner+`"`) {
			t.Errorf("%s: %v, want a conflict with %s", path, err, test.owner)
		}
	}
	namespaces := admin(t, server).CoreV1().Namespaces()
	changed, err := namespaces.Patch(t.Context(), "kube-public", types.MergePatchType, []byte(`{"metadata":{"labels":{"mine":"yes"}}}`),
		metav1.PatchOptions{FieldManager: "me"})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(changed.ManagedFields, func(e metav1.ManagedFieldsEntry) bool { return e.Manager == "me" }) {
		t.Errorf("managers: got %v, want me", changed.ManagedFields)
	}
}

// TestEndpointsOnLoopback: the kubernetes Service has the same endpoints as with
// kube-apiserver: an address of the machine, even if the server listens on loopback. A
// second start does not warn about the first stop.
func TestEndpointsOnLoopback(t *testing.T) {
	t.Parallel()
	machine, err := utilnet.ResolveBindAddress(net.IPv4(127, 0, 0, 1))
	if err != nil || machine.To4() == nil {
		t.Skipf("this machine has no address: %v", err)
	}
	logger, logs := observed(zap.WarnLevel)
	dir := t.TempDir()
	for range 2 {
		server := start(t, controlplane.Config{DataDir: dir, Logger: logger})
		port, _ := strconv.Atoi(strings.TrimPrefix(hostPort(t, server.URL()), "127.0.0.1:"))
		testwait.Object(t, testwait.Named(admin(t, server).DiscoveryV1().RESTClient(), "endpointslices", "default", "kubernetes"), &discoveryv1.EndpointSlice{}, func(slice *discoveryv1.EndpointSlice) bool {
			return len(slice.Endpoints) == 1 && slices.Equal(slice.Endpoints[0].Addresses, []string{machine.String()}) && int(*slice.Ports[0].Port) == port
		})
		closeServer(t, server)
	}
	for _, entry := range logs.All() {
		if strings.Contains(entry.Message, "endpoints") {
			t.Errorf("log: got %s, want nothing about endpoints", entry.Message)
		}
	}
}
