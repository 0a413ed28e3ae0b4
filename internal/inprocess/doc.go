// Package inprocess carries HTTP between a client and a handler of the same
// process: no socket, no TLS, no framing, one copy of the body.
//
// A [Transport] is an http.RoundTripper that calls an http.Handler. It carries
// all that client-go does against the k8s.io/apiserver handler chain, except
// upgraded connections (exec, attach, port-forward), which need a socket:
// plain requests, large bodies, watches, cancellation and deadlines of the
// client, and the stop of the server.
//
// # What the handler sees
//
// An HTTP/2 request from the loopback address, without TLS. HTTP/2 because the
// filters of the API server then ask for no http.Hijacker, and because its
// semantics (full duplex, one stream per request) are those of a Transport.
// The request's headers are a canonical copy, free of hop-by-hop fields, as a
// server would have parsed them: filters delete the Authorization header, and
// a header written as "impersonate-user" must not slip past a filter that
// looks for "Impersonate-User".
//
// The request's context inherits nothing from the client's context but its
// end. The API server keeps the user, the audit event and the request info in
// contexts, and handlers call the API from inside a request (admission,
// webhooks, aggregation): a nested call must not inherit them.
//
// The context ends when the client's context ends, when the client closes the
// response body, when the handler returns, when a write deadline passes, and
// on [Transport.Shutdown].
//
// # What the client sees
//
// A response that the handler neither flushes nor makes larger than 256 KiB is
// handed over whole, with its Content-Length, when the handler returns. Other
// responses are streamed: RoundTrip returns at the first Flush, or when
// 256 KiB are waiting. At most 1 MiB waits for a slow reader; then Write
// blocks until the reader catches up or goes away. A reader is woken by
// Flush, by 32 KiB of waiting data, and by the end of the response.
//
// The API server's watch cache ends a watch that does not keep up, here as over a
// socket: the reader gets the waiting events and then io.EOF, and
// apiserver_terminated_watchers_total is one higher. On a machine with more work than
// cores that happens to readers that are not slow themselves.
//
// A response is an error unless it is complete: when the handler panics, the
// body ends with io.ErrUnexpectedEOF, when the transport is shut down with
// [ErrStopped], when the client's context ends with that context's error.
package inprocess
