// Package storage is the path from the API server's registries to etcd.
//
// Upstream dials one gRPC client per resource and per custom resource: time
// at start, memory for ever. Here every resource shares ONE client, normally
// etcd's in-process client, which has neither socket nor gRPC framing. Only
// watch streams are kept apart by resource (see stream.go).
//
// The seam is upstream's own: [Backend.RESTOptionsGetter] returns
// generic.RESTOptions whose StorageDecorator builds the etcd3 store and the
// watch cache from the shared client. Everything behind the seam (etcd3
// store, watch cache, compactor, transformers) is upstream's. Requests that come
// while a watch cache is being filled wait for it (see warming.go).
//
// The few upstream places that insist on dialling an endpoint (the node port
// allocator goes through generic.NewRawStorage) are given an in-memory
// connection by [Backend.EtcdOptions].
package storage
