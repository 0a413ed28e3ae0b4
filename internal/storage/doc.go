// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package storage is the path from the API server's registries to etcd.
//
// Upstream dials one gRPC client per resource and per custom resource, which costs time
// at start and memory forever. Here every resource shares one client, normally etcd's
// in-process client, which has neither socket nor gRPC framing. Each resource has its own
// watch stream (see watchstream.go).
//
// The seam is upstream's own: [Backend.RESTOptionsGetter] returns generic.RESTOptions
// whose StorageDecorator builds the etcd3 store and the watch cache from the shared
// client. Everything behind the seam (etcd3 store, watch cache, compactor, transformers)
// is upstream's. Requests that arrive while a watch cache is being filled wait for it
// (see warming.go).
//
// [Backend.EtcdOptions] gives an in-memory connection to the few places in upstream that
// insist on dialling an endpoint: the node port allocator goes through
// generic.NewRawStorage.
package storage
