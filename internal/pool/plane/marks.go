// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package plane

import (
	"context"
	"sync"
	"sync/atomic"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/kubernetes/pkg/apis/core"
)

// marks is an admission plugin. It notes writes after which a control plane is not given
// to another test: credentials that stay valid when their objects are gone, objects that
// change how requests are served, and Leases that a Rollback leaves. It also notes the
// written resources.
type marks struct {
	reason atomic.Pointer[string]

	mu        sync.Mutex
	resources map[schema.GroupResource]bool // written since the last call of written
}

const pluginName = "kubembed.dev/Marks"

// lasting are groups and resources of such writes, with subresources where only they
// matter.
var lasting = map[schema.GroupResource]map[string]bool{
	{Group: "admissionregistration.k8s.io"}: nil,
	{Group: "apiregistration.k8s.io"}:       nil,
	{Group: "certificates.k8s.io"}:          nil,
	{Group: "flowcontrol.apiserver.k8s.io"}: nil,
	{Group: "internal.apiserver.k8s.io"}:    nil,
	{Group: "storagemigration.k8s.io"}:      nil,
	// The admission plugin LimitRanger remembers them for 30 seconds.
	{Resource: "limitranges"}:                                 nil,
	{Resource: "serviceaccounts"}:                             {"token": true},
	{Group: "scheduling.k8s.io", Resource: "priorityclasses"}: nil,
}

// servers are groups to which the API server itself writes: it registers the groups of
// CRDs, and reports in the status of FlowSchemas.
var servers = map[string]bool{"apiregistration.k8s.io": true, "flowcontrol.apiserver.k8s.io": true}

func (m *marks) Handles(admission.Operation) bool { return true }

func (m *marks) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	resource := a.GetResource().GroupResource()
	m.note(resource)
	if a.IsDryRun() || a.GetUserInfo().GetName() == user.APIServerUser && servers[resource.Group] {
		return nil
	}
	for _, key := range []schema.GroupResource{resource, {Group: resource.Group}} {
		if subresources, ok := lasting[key]; ok && key != (schema.GroupResource{}) && (subresources == nil || subresources[a.GetSubresource()]) {
			m.set(resource.String() + " were written")
		}
	}
	if holds(a) {
		m.set("leases of the control plane were written")
	}
	if secret, ok := a.GetObject().(*core.Secret); ok && (secret.Type == core.SecretTypeBootstrapToken || secret.Type == core.SecretTypeServiceAccountToken) {
		m.set("a token was made")
	}
	return nil
}

// owners are the users of the control plane itself that renew its Leases. A Rollback
// leaves what others write to those.
var owners = map[string]bool{user.APIServerUser: true, user.KubeScheduler: true, user.KubeControllerManager: true}

// holds reports whether a write may change who holds a Lease of the control plane.
func holds(a admission.Attributes) bool {
	return a.GetResource().GroupResource() == leases && a.GetNamespace() == metav1.NamespaceSystem &&
		a.GetOperation() != admission.Create && !owners[a.GetUserInfo().GetName()]
}

// set notes a reason. The first one stays.
func (m *marks) set(reason string) { m.reason.CompareAndSwap(nil, &reason) }

// why returns the reason why the control plane must not be used again, or "".
func (m *marks) why() string {
	if reason := m.reason.Load(); reason != nil {
		return *reason
	}
	return ""
}

func (m *marks) note(resource schema.GroupResource) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.resources == nil {
		m.resources = map[schema.GroupResource]bool{}
	}
	m.resources[resource] = true
}

// written returns the resources that requests have written since the last call. They are
// those of all clients, with the controllers.
func (m *marks) written() map[schema.GroupResource]bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	resources := m.resources
	m.resources = map[schema.GroupResource]bool{}
	return resources
}
