// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package durable crashes control planes during writes, starts them again on the same
// directory, and checks that no acknowledged write is lost.
//
//	go test ./internal/e2e/durable -v
//	go test ./internal/e2e/durable -v -timeout=2h -run=TestKill -args -cycles=500
//
// The control plane is a process of its own: this test binary with another name.
// Writers and watchers are in the test's process and connect to it over TLS, so their
// records survive its crashes. Package history has the records and the checks.
//
// There are two kinds of crash. SIGKILL ends the process at a random moment: data that
// it has written to the kernel is safe. Pulling the plug (only as root, on Linux) shuts
// down an ext4 file system on a loop device without another write to the device: data
// that was not synchronized is lost.
//
// The mutants show that the tests can fail: a writer that counts a write as
// acknowledged before the answer, and a control plane whose kernel ignores fsync.
//
// -args -seed=N repeats the random choices of the tests.
package durable
