// Package cluster holds the tests of control planes whose etcd members form one
// cluster. Each runs in a process of its own, this test binary under another name, on
// a loopback address of its own, which Linux has without being asked; the test starts,
// kills and pauses them as machines would fail.
package cluster
