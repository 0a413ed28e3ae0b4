// Package realnode holds the end-to-end test with nothing in place of a real
// part: the kubelet binary, containerd, runc and CNI plugins as Debian ships
// them, kubectl, and examples/master as a process. Two workers join with one
// file, and the walk of testdata/seed is walked as an operator would.
//
//	sudo go test ./internal/e2e/realnode -count=1 -v -args -install
//
// It needs Linux and root, and else is skipped: -v shows why. -install lets it
// install the packages that are missing; -require makes a failure of what
// would skip it; -kubectl=/usr/bin/kubectl takes another kubectl than that of the
// release.
//
// # Machines
//
// Master and workers are machines to each other and to what runs on them: a
// process in network, process, mount and host name namespaces of its own, with
// its own /var/lib, /var/log and /run (machine_linux_test.go). So all programs use
// their usual paths and ports. The end of that process is the end of all in
// its namespaces, their mounts and network devices included; it ends with the
// test, even when the test is killed. The network of the host is not touched.
//
// What the host sees is a directory and cgroups called kubembed-realnode-*
// (directory_linux_test.go). The next run removes what a killed one has left.
//
// # The image
//
// No registry is asked. The program in container/, which is all that a
// container has, is packed as docker.io/library/nginx:latest and as the
// sandbox image (image_linux_test.go).
//
// # What a worker is told
//
// The commands are those that examples/master prints (worker_linux_test.go). What
// comes on top is there because two workers share a kernel, or because it may
// be old or restricted, and is explained there.
package realnode
