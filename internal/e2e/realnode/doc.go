// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package realnode has the end-to-end test with only real parts: the kubelet binary,
// containerd, runc and CNI plugins from Debian, kubectl, and examples/master as a
// process. Two workers join with one file, and the test follows the walk of
// testdata/seed as an operator would.
//
//	sudo go test ./internal/e2e/realnode -count=1 -v -args -install
//
// It needs Linux and root, and is skipped otherwise: -v shows why. -install allows it
// to install missing packages, and -require turns a skip into a failure.
// -kubectl=/usr/bin/kubectl selects another kubectl than the release's.
//
// # Machines
//
// Master and workers are machines to each other and to their programs: a process in its
// own network, process, mount and host name namespaces, with its own /var/lib, /var/log
// and /run (machine_linux_test.go). So all programs use their usual paths and ports.
// The end of that process ends everything in its namespaces, including mounts and
// network devices. The process ends with the test, even if the test is killed. The test
// does not change the host's network.
//
// The host sees only a directory and cgroups called kubembed-realnode-*
// (directory_linux_test.go). The next run removes the leftovers of a killed one.
//
// # The image
//
// No registry is used. The program in container/, the only one in a container, is
// packed as docker.io/library/nginx:latest and as the sandbox image
// (image_linux_test.go).
//
// # Commands of a worker
//
// The workers run the commands that examples/master prints (worker_linux_test.go). That
// file explains the additional settings: two workers share a kernel, which may be old
// or restricted.
package realnode
