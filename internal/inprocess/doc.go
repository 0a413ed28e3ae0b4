// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package inprocess carries HTTP between a client and a handler of the same
// process: no socket, no TLS, no framing, one copy of the body.
//
// A [Transport] is an http.RoundTripper that calls an http.Handler. It supports all
// requests of client-go to the k8s.io/apiserver handler chain, except upgraded
// connections (exec, attach, port-forward), which need a socket: plain requests,
// large bodies, watches, cancellation and deadlines of the client, and the stop of
// the server.
//
// # The handler's side
//
// The handler gets an HTTP/2 request from the loopback address, without TLS. It is
// HTTP/2 because the filters of the API server then need no http.Hijacker, and
// because a Transport has HTTP/2's semantics (full duplex, one stream per request).
// The request's headers are a canonical copy without hop-by-hop fields, as a server
// would have parsed them: filters delete the Authorization header, and a header
// written as "impersonate-user" must not pass a filter that looks for
// "Impersonate-User".
//
// The request's context ends with the client's context, and inherits nothing else
// from it. The API server keeps the user, the audit event and the request info in
// contexts, and handlers call the API inside a request (admission, webhooks,
// aggregation): a nested call must not inherit them.
//
// The context ends when the client's context ends, when the client closes the
// response body, when the handler returns, when a write deadline passes, and
// on [Transport.Shutdown].
//
// # The client's side
//
// If the handler does not flush, the client gets a response of up to 256 KiB as a
// whole, with its Content-Length, when the handler returns. Other responses are
// streamed: RoundTrip returns at the first Flush, or when 256 KiB are buffered. The
// buffer holds at most 1 MiB for a slow reader; then Write blocks until the reader
// catches up or closes the body. Flush, 32 KiB of buffered data and the end of the
// response wake the reader.
//
// The API server's watch cache ends a watch that falls behind, as it does over a socket:
// the reader gets the buffered events and then io.EOF, and
// apiserver_terminated_watchers_total increases by one. On an overloaded machine this
// also happens to readers that are not slow themselves, except for watches of pods and
// nodes (internal/storage/relay.go).
//
// An incomplete response ends with an error: io.ErrUnexpectedEOF if the handler
// panics, [ErrStopped] if the transport is shut down, and the error of the client's
// context if that ends.
package inprocess
