// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package controllers has the controllers that every control plane runs by default:
// without them no namespace is ever removed, no dependent object is collected, and no pod
// finds its service account. They are upstream's, constructed as kube-controller-manager
// constructs them, but without linking that program and all of its other controllers.
//
// The controllers use the informers of the API server, where it has one for a kind. For
// all other kinds the garbage collector and the quota controller watch metadata only.
// Both discover custom resources when their CRD is created, not up to 30 seconds later.
//
// The pod garbage collector is our own, because upstream's imports the kubelet for a
// single constant. So is the queue of deleted namespaces, because upstream's waits for
// five seconds.
package controllers
