// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package connlimit keeps the connections of a process below its limit of descriptors, so
// that files can always be opened.
//
// All listeners of all control planes in a process share one [Budget]: the limit of open
// files, less the other descriptors of the process, less a reserve for files. When it is
// used up, a new connection replaces another one, in this order:
//
//   - Unauthenticated connections, the oldest first, after a short time to authenticate.
//   - Connections of guests, clients with few rights.
//   - Idle connections.
//   - Busy connections of the client with the most connections.
//
// A part of the budget is always free for newcomers, and a larger part if one client has
// many connections. So a new client gets in, however many connections another one holds.
// Busy connections of administrators, and connections between etcd members, are never
// closed.
//
// Connections that the API server opens for clients count too.
package connlimit
