// Package cluster holds the tests of control planes whose etcd members form one
// cluster. Each runs in a process of its own, this test binary under another name, on
// a loopback address of its own, which Linux has without being asked; the test starts,
// kills and pauses them as machines would fail.
//
// The chaos tests do so under load, with a network namespace for each member that can
// be cut off, and check what clients saw for linearizability (package history).
package cluster
