// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package upstream lists every place where this project copies Kubernetes, etcd, klog or
// Go, or depends on their internals: the body of a function that ours follows, a table
// that ours copies, the order of two calls, the text of an error or of a log line, the
// name of a function on a stack.
//
// Each place is an [Entry] with a drift test. The test parses upstream's source in the
// module cache. For each difference it fails with a sentence that describes the
// difference and names our code. It reports all differences at once. It links no upstream
// code, so it runs in seconds, also when the rest of the project does not compile yet
// with a new version of Kubernetes:
//
//	go test ./internal/upstream
//
// [Exits] lists linked code that could end the host's process. TestExits finds such code
// in a new version.
//
// To add an entry, write it without its Digest; the failing test prints the digest. After
// an upgrade, read upstream's change and follow it in Ours where it matters. Only then
// replace the digest by the one that the test prints.
package upstream
