// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/apiserver"
)

// change is a request of an operator: a merge patch or, if body is empty, a deletion.
// With a slash at the end of the path it creates body. A path that is a key in etcd
// deletes the key.
type change struct{ path, body string }

const (
	roles    = "/apis/rbac.authorization.k8s.io/v1/clusterroles/"
	bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/"
	spaced   = "/apis/rbac.authorization.k8s.io/v1/namespaces/"
	schemas  = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas/"
	levels   = "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations/"
	classes  = "/apis/scheduling.k8s.io/v1/priorityclasses/"
	services = "/apis/apiregistration.k8s.io/v1/apiservices/"

	protected   = `"annotations":{"rbac.authorization.kubernetes.io/autoupdate":"false"}`
	unprotected = `"annotations":null`
	someRule    = `{"verbs":["get"],"apiGroups":["example.com"],"resources":["widgets"]}`
	jane        = `{"kind":"User","apiGroup":"rbac.authorization.k8s.io","name":"jane"}`
	others      = `{"clusterRoleSelectors":[{"matchLabels":{"mine":"yes"}}]}`
)

// binding returns a binding with a role that differs from the bootstrap policy.
func binding(name, metadata string) string {
	return `{"metadata":{"name":"` + name + `",` + metadata + `},"subjects":[` + jane + `],
		"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"view"}}`
}

// operatorChanges are made in rounds. Each round begins with a fresh cluster and ends
// with a start.
var operatorChanges = map[string][]change{
	"objects": {
		// Roles: rules, protection, labels, aggregation.
		{roles + "system:node-bootstrapper", `{"rules":null}`},
		{roles + "system:node-problem-detector", `{"rules":null,"metadata":{` + protected + `}}`},
		{roles + "system:basic-user", ``},
		{roles + "system:heapster", `{"rules":[` + someRule + `]}`},
		{roles + "system:kube-dns", `{"rules":[` + someRule + `],"metadata":{` + unprotected + `,"labels":{"mine":"yes"}}}`},
		{roles + "system:monitoring", `{"metadata":{` + protected + `,"labels":null}}`},
		{roles + "system:node-proxier", `{"metadata":{"labels":{"kubernetes.io/bootstrapping":"mine"}}}`},
		{roles + "system:kube-aggregator", `{"aggregationRule":` + others + `}`},
		{roles + "system:auth-delegator", `{"aggregationRule":` + others + `,"metadata":{` + protected + `}}`},
		{roles + "edit", `{"aggregationRule":` + others + `}`},
		{roles + "admin", `{"aggregationRule":null,"rules":[` + someRule + `]}`},
		{roles + "view", `{"aggregationRule":null,"rules":[` + someRule + `],"metadata":{` + protected + `}}`},
		{roles + "system:aggregate-to-view", `{"rules":[` + someRule + `],"metadata":{` + protected + `}}`},
		{roles + "system:aggregate-to-edit", `{"metadata":{"labels":null}}`},
		{roles + "kubembed:node-bootstrapper", `{"rules":[` + someRule + `],"metadata":{` + protected + `}}`},
		{roles, `{"metadata":{"name":"mine","labels":{"kubernetes.io/bootstrapping":"rbac-defaults"}},"rules":[` + someRule + `]}`},
		// Bindings: subjects, protection, labels, the role.
		{bindings + "system:basic-user", `{"subjects":[` + jane + `]}`},
		{bindings + "system:node-proxier", `{"subjects":null,"metadata":{` + protected + `}}`},
		{bindings + "system:monitoring", `{"subjects":null}`},
		{bindings + "system:volume-scheduler", ``},
		{bindings + "system:node", `{"subjects":[` + jane + `]}`},
		{bindings + "cluster-admin", `{"metadata":{"labels":{"kubernetes.io/bootstrapping":null,"mine":"yes"},` + unprotected + `}}`},
		{bindings + "system:kube-scheduler", ``},
		{bindings, binding("system:kube-scheduler", `"labels":{"mine":"yes"}`)},
		{bindings + "system:kube-dns", ``},
		{bindings, binding("system:kube-dns", protected)},
		{bindings + "system:public-info-viewer", `{"subjects":[` + jane + `],"metadata":{` + protected + `}}`},
		{bindings + "kubembed:kubelet-bootstrap", `{"subjects":null,"metadata":{` + protected + `}}`},
		{bindings + "kubembed:kubelet-api-admin", `{"subjects":[` + jane + `]}`},
		{bindings + "kubembed:node-certificate-rotation", ``},
		// Roles and bindings in namespaces.
		{spaced + "kube-system/roles/extension-apiserver-authentication-reader", `{"rules":null}`},
		{spaced + "kube-system/roles/system:controller:cloud-provider", `{"rules":null,"metadata":{` + protected + `}}`},
		{spaced + "kube-public/roles/system:controller:bootstrap-signer", ``},
		{spaced + "kube-system/rolebindings/system:controller:token-cleaner", `{"subjects":[` + jane + `]}`},
		{spaced + "kube-system/rolebindings/system:controller:cloud-provider", `{"subjects":null,"metadata":{` + protected + `}}`},
		{spaced + "kube-system/rolebindings/system:controller:bootstrap-signer", ``},
		{spaced + "kube-system/rolebindings/", binding("system:controller:bootstrap-signer", `"labels":{"mine":"yes"}`)},
		{spaced + "kube-public/rolebindings/system:controller:bootstrap-signer", ``},
		// Flow control: its own annotation, specs, deletions, objects of older releases.
		{schemas + "service-accounts", ``},
		{schemas + "system-leader-election", `{"spec":{"matchingPrecedence":101},"metadata":{"annotations":{"apf.kubernetes.io/autoupdate-spec":"false"}}}`},
		{schemas + "kube-scheduler", `{"spec":{"matchingPrecedence":801}}`},
		{schemas + "kube-controller-manager", `{"spec":{"matchingPrecedence":802},"metadata":{"annotations":null}}`},
		{schemas + "system-nodes", `{"metadata":{"annotations":null,"labels":{"mine":"yes"}}}`},
		{schemas + "catch-all", ``},
		{schemas, `{"metadata":{"name":"former","annotations":{"apf.kubernetes.io/autoupdate-spec":"true"}},"spec":{"priorityLevelConfiguration":{"name":"workload-low"},"matchingPrecedence":9000}}`},
		{schemas, `{"metadata":{"name":"mine"},"spec":{"priorityLevelConfiguration":{"name":"workload-low"},"matchingPrecedence":9001}}`},
		{levels + "workload-high", ``},
		{levels + "leader-election", `{"spec":{"limited":{"nominalConcurrencyShares":11}},"metadata":{"annotations":{"apf.kubernetes.io/autoupdate-spec":"false"}}}`},
		{levels + "system", `{"spec":{"limited":{"nominalConcurrencyShares":12}}}`},
		{levels + "node-high", `{"spec":{"limited":{"nominalConcurrencyShares":13}},"metadata":{"annotations":null}}`},
		// Priority classes.
		{classes + "system-node-critical", `{"description":"mine","metadata":{"labels":{"mine":"yes"}}}`},
		{"/registry/priorityclasses/system-cluster-critical", ``}, // the API refuses it
		// APIServices, which upstream recognizes by a label.
		{services + "v1.apps", ``},
		{services + "v1.batch", `{"spec":{"versionPriority":1}}`},
		{services + "v1.policy", `{"spec":{"versionPriority":1},"metadata":{"labels":null}}`},
		{services + "v2.autoscaling", `{"metadata":{"labels":{"mine":"yes"},"annotations":{"mine":"yes"}}}`},
		// Namespaces.
		{"/api/v1/namespaces/kube-public", `{"metadata":{"labels":{"mine":"yes"}}}`},
	},
	// The regression for which this test was written.
	"split binding, protected source": {
		{bindings + "system:discovery", `{"metadata":{` + protected + `}}`},
		{bindings + "system:public-info-viewer", ``},
	},
	"split binding, changed source": {
		{bindings + "system:discovery", `{"subjects":[` + jane + `],"metadata":{"labels":{"mine":"yes"}}}`},
		{bindings + "system:public-info-viewer", ``},
		{roles + "admin", `{"aggregationRule":null,"rules":[` + someRule + `],"metadata":{` + protected + `}}`},
		{roles + "system:aggregate-to-admin", ``},
	},
	"split binding, no source": {
		{bindings + "system:discovery", ``},
		{bindings + "system:public-info-viewer", ``},
		{roles + "edit", `{"aggregationRule":null,"rules":[` + someRule + `],"metadata":{"labels":{"mine":"yes"}}}`},
		{roles + "system:aggregate-to-edit", ``},
	},
	"split binding, source of another role": {
		{bindings + "system:discovery", ``},
		{bindings, binding("system:discovery", protected)},
		{bindings + "system:public-info-viewer", ``},
		// Aggregated roles and the roles that they select.
		{roles + "view", ``},
		{roles + "system:aggregate-to-view", `{"rules":[` + someRule + `],"metadata":{` + protected + `}}`},
		{roles + "admin", ``},
		{roles + "system:aggregate-to-admin", ``},
		{roles + "system:aggregate-to-edit", ``},
		// This namespace stays in deletion.
		{"/api/v1/namespaces/kube-node-lease/serviceaccounts/default", ``},
		{"/api/v1/namespaces/kube-node-lease/configmaps/kube-root-ca.crt", ``},
		{"/api/v1/namespaces/kube-node-lease", ``},
	},
}

func (p *plane) change(t *testing.T, c change) {
	t.Helper()
	if strings.HasPrefix(c.path, "/registry/") {
		must(p.etcd.Client().Delete(t.Context(), c.path))(t)
		return
	}
	method, path, contentType := http.MethodPatch, c.path, "Content-Type: application/merge-patch+json"
	switch {
	case c.body == "":
		method = http.MethodDelete
	case strings.HasSuffix(c.path, "/"):
		method, path, contentType = http.MethodPost, strings.TrimSuffix(c.path, "/"), "Content-Type: application/json"
	}
	if a := p.call(t, p.inProcess(t), method, path, c.body, contentType); a.status >= 300 {
		t.Fatalf("%s %s: HTTP %d: %.500s", method, path, a.status, a.body)
	}
}

// TestBootstrapOverChangedData compares a start over data that operators have changed
// with upstream's own code over the same data. It was written when a start created
// system:public-info-viewer again with subjects that an operator had removed from
// system:discovery. Upstream copies that binding.
func TestBootstrapOverChangedData(t *testing.T) {
	t.Parallel()
	p, cfg := parts(t)
	cfg.Controllers = true // but none run
	start := func(t *testing.T) {
		t.Helper()
		p.use(must(apiserver.New(cfg))(t))
		ctx, cancel := context.WithTimeout(t.Context(), testwait.Timeout)
		defer cancel()
		if err := p.Start(ctx); err != nil {
			t.Fatal(err)
		}
	}
	start(t)
	pristine, registered := p.stored(t), p.registered(t)
	for _, name := range slices.Sorted(maps.Keys(operatorChanges)) {
		t.Run(name, func(t *testing.T) {
			p.store(t, pristine)
			for _, c := range operatorChanges[name] {
				p.change(t, c)
			}
			changed := p.stored(t)
			if err := p.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
			cfg.Listener = must(net.Listen("tcp", "127.0.0.1:0"))(t)
			start(t)
			p.flowControlEnsured(t)
			got := p.bootstrapState(t)

			p.store(t, changed)
			before := p.bootstrapState(t)
			p.upstreamBootstrap(t, registered)
			var want map[string]string
			testwait.Until(t, "state of upstream's bootstrap", func(context.Context) error { // upstream's controllers may still write
				want = p.bootstrapState(t)
				if differ := differences(got, want); len(differ) > 0 {
					var texts []string
					for _, name := range differ {
						texts = append(texts, fmt.Sprintf("%s\n\tbefore   %s\n\tours     %s\n\tupstream %s", name, before[name], got[name], want[name]))
					}
					return errors.New(strings.Join(texts, "\n"))
				}
				return nil
			})
			if len(differences(before, want)) == 0 {
				t.Error("upstream changes nothing: the round tests nothing")
			}
			if name == "split binding, protected source" && strings.Contains(got["ClusterRoleBinding /system:public-info-viewer"], "system:unauthenticated") {
				t.Error("system:public-info-viewer: got subject system:unauthenticated, want only those of system:discovery")
			}
		})
	}
}

// TestRestartWithoutRBAC: the bootstrap policy excludes resources that are not served. A
// second start used to try forever to create them.
func TestRestartWithoutRBAC(t *testing.T) {
	t.Parallel()
	for _, off := range []string{"rbac.authorization.k8s.io/v1", "rbac.authorization.k8s.io/v1/rolebindings"} {
		p, cfg := parts(t)
		core, logs := observer.New(zap.WarnLevel)
		cfg.Logger = zap.New(core)
		cfg.RuntimeConfig = map[string]string{off: "false"}
		for range 2 {
			cfg.Listener = must(net.Listen("tcp", "127.0.0.1:0"))(t)
			p.use(must(apiserver.New(cfg))(t))
			if err := p.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			p.get(t, "/readyz").want(t, http.StatusOK)
			if err := p.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		for _, entry := range logs.FilterMessageSnippet("RBAC").All() {
			t.Errorf("without %s: got log line %q %v, want none about RBAC", off, entry.Message, entry.ContextMap())
		}
	}
}
