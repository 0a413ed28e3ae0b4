// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package keyspace maps resources to their keys in etcd, and keys back to resources.
//
// Objects are stored as kube-apiserver stores them: a built-in resource below its plural
// name or a name that Kubernetes has kept from its early releases, like "minions" for
// nodes; a custom resource, a CustomResourceDefinition and an APIService below group and
// plural name. Namespaced objects have the namespace before their own name.
//
// The built-in groups are those in legacyscheme. A program that links the API server has
// all of them; a test imports the install packages of the groups that it uses.
package keyspace

import (
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/kubeapiserver"
)

// Keyspace is the set of keys of one control plane: all keys below one prefix.
type Keyspace struct{ prefix string }

// New returns the keyspace below prefix, a path like "/registry" without a slash at its
// end.
func New(prefix string) Keyspace { return Keyspace{prefix: prefix + "/"} }

// Prefix returns the prefix of all keys, with a slash at its end.
func (k Keyspace) Prefix() string { return k.prefix }

// ResourcePrefix returns the prefix of the keys of a resource's objects. A resource of a
// built-in group is taken for a built-in one.
func (k Keyspace) ResourcePrefix(resource schema.GroupResource) string {
	if legacyscheme.Scheme.IsGroupRegistered(resource.Group) {
		return k.builtinPrefix(resource)
	}
	return k.CustomResourcePrefix(resource)
}

// ResourcePrefixes returns every prefix that the keys of a resource's objects may have. A
// resource of a built-in group has two: CustomResourceDefinitions may extend the group.
func (k Keyspace) ResourcePrefixes(resource schema.GroupResource) (prefixes []string) {
	if legacyscheme.Scheme.IsGroupRegistered(resource.Group) {
		prefixes = append(prefixes, k.builtinPrefix(resource))
	}
	if resource.Group != "" {
		prefixes = append(prefixes, k.CustomResourcePrefix(resource))
	}
	return prefixes
}

// CustomResourcePrefix returns the prefix of the keys of a custom resource's objects, as
// CRDRESTOptionsGetter of k8s.io/apiextensions-apiserver does.
func (k Keyspace) CustomResourcePrefix(resource schema.GroupResource) string {
	return k.prefix + resource.Group + "/" + resource.Resource + "/"
}

// builtinPrefix is ResourcePrefix of upstream's DefaultStorageFactory.
func (k Keyspace) builtinPrefix(resource schema.GroupResource) string {
	path, special := kubeapiserver.SpecialDefaultResourcePrefixes[resource]
	if !special {
		path = strings.ToLower(resource.Resource)
	}
	return k.prefix + strings.Trim(path, "/") + "/"
}

// Object returns the key of an object. The namespace is empty for cluster-scoped objects.
func (k Keyspace) Object(resource schema.GroupResource, namespace, name string) string {
	return strings.TrimSuffix(k.ResourcePrefix(resource), "/") + ObjectPath(namespace, name)
}

// ObjectPath returns the end of an object's key, from the slash after the prefix of its
// resource. The namespace is empty for cluster-scoped objects.
func ObjectPath(namespace, name string) string {
	if namespace == "" {
		return "/" + name
	}
	return "/" + namespace + "/" + name
}

// Has reports whether key is that of an object of one of resources.
func (k Keyspace) Has(key string, resources ...schema.GroupResource) bool {
	for _, resource := range resources {
		if strings.HasPrefix(key, k.ResourcePrefix(resource)) {
			return true
		}
	}
	return false
}

// Index returns an index of the keys of resources.
func (k Keyspace) Index(resources ...schema.GroupResource) Index {
	index := Index{}
	for _, resource := range resources {
		index[k.ResourcePrefix(resource)] = resource
	}
	return index
}

// Index finds the resources of keys. It maps the prefixes of their keys to resources.
type Index map[string]schema.GroupResource

// Find returns the resource of a key, and the name of its object as informers have it:
// NAMESPACE/NAME or NAME.
func (i Index) Find(key string) (resource schema.GroupResource, name string, ok bool) {
	for prefix, candidate := range i {
		if rest, ok := strings.CutPrefix(key, prefix); ok {
			return candidate, rest, true
		}
	}
	return schema.GroupResource{}, "", false
}

// MasterLeases returns the prefix of the keys by which API servers publish their
// addresses, as kube-apiserver does. etcd deletes the key of a server that does not
// renew its lease.
func (k Keyspace) MasterLeases() string { return k.prefix + MasterLeasesPath }

// MasterLeasesPath is the end of MasterLeases, below the prefix.
const MasterLeasesPath = "masterleases/"

// PeerLeases returns the prefix of the keys by which kube-apiservers publish the
// addresses for requests of other API servers. They expire like the keys of MasterLeases.
func (k Keyspace) PeerLeases() string { return k.prefix + "peerserverleases/" }

// Health returns a key that is never written. Health checks read it.
func (k Keyspace) Health() string { return k.prefix + "health" }

// The keys below "kubembed/" belong to this project. No resource has such keys: the group
// of a custom resource has a dot in its name.

// Servers returns the prefix of the keys by which API servers publish their names,
// addresses and endpoints to each other.
func (k Keyspace) Servers() string { return k.prefix + "kubembed/servers/" }

// Version returns the key of the newest Kubernetes release that has been started on the
// stored objects.
func (k Keyspace) Version() string { return k.prefix + "kubembed/version" }

// Identity returns the key of the fingerprints of the control plane's CAs and keys.
func (k Keyspace) Identity() string { return k.prefix + "kubembed/identity" }
