package apiserver

import (
	"context"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kubembed/kubembed/internal/apiserver/convergence"
)

func (s *Server) waiter() convergence.Waiter {
	return convergence.Waiter{
		Informers: s.informers(),
		Writes:    s.generic.acknowledged,
		Policies:  s.generic.policies,
		Storages:  &s.generic.storages,
		Keys:      s.backend.Keyspace(),
		Discovery: s.generic.client,
		Serves:    s.serves,
	}
}

// WaitForInformers returns when the server itself knows what has happened to
// resource up to resourceVersion: what authorizes and admits requests, counts
// quotas, and serves custom resources works from informers, which lag behind what
// was written by a millisecond or so. Requests
// that depend on a write through this server wait by themselves; this is for other
// writes, such as those of other servers of the same etcd. resourceVersion is that of an object of
// resource, as it was when it was created, updated or deleted. Of a resource for
// which the server has no informer there is nothing to wait for.
//
//	config, err := client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(ctx, config, metav1.CreateOptions{})
//	...
//	err = server.WaitForInformers(ctx, schema.GroupResource{Group: "admissionregistration.k8s.io",
//		Resource: "validatingwebhookconfigurations"}, config.ResourceVersion)
//	// The next request meets the webhook.
//
// That an informer has seen a new CustomResourceDefinition or an APIService does not
// mean that its API is served already: discovery tells. One that was served before is
// served as it says. Admission looks once a second for policies that have changed, and
// compiles them, which is not waited for; WaitForStored waits for it. Neither waits longer than ten
// seconds for custom resources that are parameters of policies: they may be unreadable, as where the
// conversion webhook of their CustomResourceDefinition does not answer.
//
// The error is the cause of ctx, when that ends first, and names the resource.
func (s *Server) WaitForInformers(ctx context.Context, resource schema.GroupResource, resourceVersion string) error {
	return s.waiter().WaitForInformers(ctx, resource, resourceVersion)
}

// APIs are custom resources, and the group versions of APIServices.
type APIs struct {
	Resources     []schema.GroupResource
	GroupVersions []schema.GroupVersion
}

// WaitForAPIs returns when discovery tells of apis what the definitions and
// APIServices say that the server knows: established custom resources are there in
// each version that is served, others are not; registered group versions are
// there unless they are of another server, and those that are not registered are
// not. The error is the cause of ctx, when that ends first, and names the API.
func (s *Server) WaitForAPIs(ctx context.Context, apis APIs) error {
	return s.waiter().WaitForAPIs(ctx, convergence.APIs(apis))
}
