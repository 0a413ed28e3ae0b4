// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kubembed/kubembed/internal/apiserver/convergence"
)

// waiter returns a Waiter for the server.
func (s *Server) waiter() convergence.Waiter {
	return convergence.Waiter{
		Informers: s.informers(),
		Writes:    s.acknowledged,
		Policies:  s.policies,
		Storages:  &s.storages,
		Keys:      s.backend.Keyspace(),
		Discovery: s.client,
		Serves:    s.serves,
	}
}

// WaitForInformers returns when the server has applied what happened to a resource up to
// resourceVersion. The server authorizes and admits requests, counts quotas and serves
// custom resources by informers, which lag behind writes by about a millisecond.
//
// Requests that depend on a write through this server wait by themselves. Call
// WaitForInformers for other writes, such as those of other servers of the same etcd.
// resourceVersion is that of an object of the resource after its creation, update or
// deletion. If the server has no informer for the resource, WaitForInformers returns at
// once.
//
//	configs := client.AdmissionregistrationV1().ValidatingWebhookConfigurations()
//	config, err := configs.Create(ctx, config, metav1.CreateOptions{})
//	...
//	resource := admissionregistrationv1.Resource("validatingwebhookconfigurations")
//	err = server.WaitForInformers(ctx, resource, config.ResourceVersion)
//	// The webhook applies to the next request.
//
// The API of a new CustomResourceDefinition or APIService may not be served yet: see
// WaitForAPIs. An existing custom resource is served by the new
// CustomResourceDefinition. Admission compiles changed policies in the background,
// and WaitForInformers does not wait for that. It waits at most ten seconds for custom
// resources that are parameters of policies: they may be unreadable, for example when
// the conversion webhook of their CustomResourceDefinition does not answer.
//
// The error is the cause of ctx if that ends first, and names the resource.
func (s *Server) WaitForInformers(ctx context.Context, resource schema.GroupResource, resourceVersion string) error {
	return s.waiter().WaitForInformers(ctx, resource, resourceVersion)
}

// APIs are custom resources and the group versions of APIServices.
type APIs struct {
	Resources     []schema.GroupResource
	GroupVersions []schema.GroupVersion
}

// WaitForAPIs returns when discovery agrees with the server's informers about apis.
// Established custom resources are in discovery in each served version, and others are
// not. Registered group versions are in discovery unless an aggregated API server serves
// them, and unregistered group versions are not. The error is the cause of ctx if that
// ends first, and names the API.
func (s *Server) WaitForAPIs(ctx context.Context, apis APIs) error {
	return s.waiter().WaitForAPIs(ctx, convergence.APIs(apis))
}
