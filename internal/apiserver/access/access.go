// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package access gives the packages of this module the parts of an API server that
// pkg/apiserver does not export. Package apiserver sets the variables in its init
// function. A package that has a server or a Config imports package apiserver and can
// call them.
package access

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/server/flagz"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/rest"
)

// Internals are the methods of an API server for the other parts of the control plane.
// They are safe for concurrent use.
type Internals interface {
	// ID returns the name of the server among the servers that share an etcd. It is the
	// same after a restart at the same address. The server's Lease in kube-system has it.
	ID() string
	// LoopbackConfig returns the server's own client configuration: privileged,
	// in-process, with protobuf, like upstream's loopback client.
	LoopbackConfig() *rest.Config
	// Informers returns the server's own informers, for parts of the control plane. They
	// lag a moment behind etcd. Their objects are shared and must not be changed: pods
	// are in the memory from which the API server serves them. Informers that a caller
	// adds must be started. For kinds that Config.RuntimeConfig switches off they find no
	// objects.
	Informers() informers.SharedInformerFactory
	// NewInformers returns informers like Informers, for this caller only, which
	// starts them and shuts them down.
	NewInformers() informers.SharedInformerFactory
	// Serves reports whether a built-in resource is served in that version.
	Serves(resource schema.GroupVersionResource) bool
	// WatchAPIs calls changed when a custom resource or an APIService is added, changed
	// or removed, until ctx ends or the server stops, and for each custom resource that
	// already exists. Discovery may lag behind the call.
	WatchAPIs(ctx context.Context, changed func()) error
	// APIsDiscovered reports whether preferred resources, from discovery, agree with the
	// server's CustomResourceDefinitions and APIServices: they have all established
	// custom resources, the groups of available APIServices, and no others.
	APIsDiscovered(preferred []*metav1.APIResourceList) bool
	// FirstUse returns a channel that is closed when there may be objects of a custom
	// resource: when a client has asked for it since the start, when objects are stored
	// from before, or when other servers work on the same etcd. For other resources it is
	// closed. Controllers of every kind need it: their informers would have the server
	// prepare unused resources and keep them in memory. ctx bounds the call.
	FirstUse(ctx context.Context, resource schema.GroupResource) <-chan struct{}
	// WaitForStored returns when the server has applied changes that were written to etcd
	// directly. The error is the cause of ctx if that ends first.
	WaitForStored(ctx context.Context, changes []StoredChange) error
	// WaitForWrites returns when the mutating requests that the server received before
	// the call have ended. The error is the cause of ctx if that ends first.
	WaitForWrites(ctx context.Context) error
	// Acknowledged returns the revision of the newest write of a resource that the server
	// has acknowledged since its start, or 0. It may miss a write of a quota's usage.
	Acknowledged(resource schema.GroupResource) uint64
	// AggregatedAPIs returns the group versions that aggregated API servers serve, in no
	// particular order.
	AggregatedAPIs() []schema.GroupVersion
	// ReloadIdentities makes the server use the certificates that its PKI has renewed.
	// New connections get a renewed serving certificate in any case.
	ReloadIdentities() error
}

// StoredChange is a change that was written to etcd directly.
type StoredChange struct {
	Key      string
	Deleted  bool
	Revision int64
}

var (
	// Of returns the internals of an *apiserver.Server.
	Of func(server any) Internals
	// ValidateOptional checks the optional fields of an apiserver.Config only, so that a
	// caller can report errors before it opens the values of the required fields.
	ValidateOptional func(config any) field.ErrorList
	// SetAdopt sets a function that is called at the start of each goroutine that serves
	// a client in this process. config is an *apiserver.Config.
	SetAdopt func(config any, adopt func())
	// SetProxyClient sets the files of the client certificate, and of its key, with which
	// the server calls aggregated API servers, in place of its PKI's. It follows their
	// changes. config is an *apiserver.Config, and its Authentication.RequestHeader must
	// have their CA.
	SetProxyClient func(config any, cert, key string)
	// SetFlags sets the flags that the server shows at /flagz, for a program that has
	// them. config is an *apiserver.Config.
	SetFlags func(config any, flags flagz.Reader)
	// SetAuditStdout makes the audit log standard output, in place of Audit.Log.Path, for
	// a program of its own. config is an *apiserver.Config.
	SetAuditStdout func(config any)
	// SetComponents sets the names of the components whose users a chain of authorizers
	// must not deny. config is an *apiserver.Config.
	SetComponents func(config any, names []string)
	// SetLenient accepts what kube-apiserver accepts, for its stand-in: expressions of
	// Serving.CORSAllowedOrigins that match more hosts than meant, authorizers that
	// deny the identities of a control plane, which are not asked about them, CAs of a
	// proxy, without names, that may also have certified clients, and AlwaysAllow for
	// clients without credentials. config is an *apiserver.Config.
	SetLenient func(config any)
	// SetMetricsName sets the name of the control plane in metrics. config is an
	// *apiserver.Config.
	SetMetricsName func(config any, name string)
	// SetStarting sets the context of the start, which New does not have: code of the
	// host that blocks New is left when it ends. config is an *apiserver.Config.
	SetStarting func(config any, starting context.Context)
)
