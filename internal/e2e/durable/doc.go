// Package durable crashes control planes while they are written to, starts them
// again on the same directory, and checks that nothing that was acknowledged is lost.
//
//	go test ./internal/e2e/durable -v
//	go test ./internal/e2e/durable -v -timeout=2h -run=TestKill -args -cycles=500
//
// The control plane is a process of its own: this test binary started under another
// name. Writers and watchers are in the test's process and talk to it over TLS, so
// that their memory of what was said outlives it. The directory history has what they
// remember, and the checks.
//
// A crash is one of two. SIGKILL ends the process at a random moment; what it has
// written is in the kernel's hands and safe. Pulling the plug (root only, Linux) is
// done to an ext4 file system on a loop device, which is shut down without another
// write reaching the device: what was not synchronized is gone.
//
// The mutants show that the tests can fail: a writer that takes a write for
// acknowledged before there is an answer, and a control plane whose kernel does
// nothing for fsync.
//
// -args -seed=N repeats the choices of a run, as far as chance was ours.
package durable
