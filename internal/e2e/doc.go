// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package e2e has the end-to-end tests: a control plane of this library, real kubelet
// code that joins it, and real kubectl code that connects to it.
//
//	go test ./internal/e2e/... # at the top of the repository
//
// The walk of testdata/seed is the main test (seed_walk_test.go). Other tests cover
// kubelets: how they join and renew their certificates (join, rotation, join_refused),
// logs, exec and other streams over both protocols (streams, kubelet_killed), and the
// limits of their credentials (kubeletapi, isolation).
//
// Components are tested with simulated nodes (components), and the scheduler also with
// a kubelet. Package soak starts and stops control planes with all components 200
// times, unless -short is set.
//
// Package durable kills control planes, pulls the plug under them and removes their
// disks. Package cluster does the same to members of a cluster, and cuts their network.
//
// Package attack runs all known attacks at once against a control plane in its own
// process.
//
// Everything except the library runs as a process of its own: this test binary with
// another name (main_test.go).
//
//   - kubectl: k8s.io/kubectl, with its own flags, exit code, stdout and stderr
//   - kubelet: k8s.io/kubernetes/cmd/kubelet/app, with its own flags and configuration
//     file. It joins as in production: with a join file, its own client and serving
//     certificates, and a control plane that authenticates and authorizes its clients.
//     cAdvisor, cgroups and mounts are upstream's fakes (kubelet_test.go).
//   - kubembed: a control plane, for tests that kill it
//
// The container runtime of a kubelet is upstream's fake behind a CRI socket, with
// containerd's streaming server (runtime_test.go). A container in it is a directory, in
// which exec runs commands of this machine, and a log (container_test.go).
//
// Each kubelet listens on its own address in 127.0.0.0/8, which Linux has by default,
// on port 10250. No kubelet registers such an address by itself: it is started for a
// cloud whose controller, here the test, registers it. Kubelets need neither root nor
// cgroups. As root, if /dev/kmsg is readable, they also post events.
//
// Package realnode has the same tests with the real kubelet program and containerd.
//
// # Why a module of its own
//
// kubectl and the kubelet need some 40 modules, which stay out of the library's go.mod.
// The go command finds the library through go.work, so this go.mod does not mention it:
// a requirement would need a published version, and the library avoids replace
// directives for its users.
//
// # How to update go.mod
//
// For the same reason "go mod tidy" cannot run on go.mod itself. Tidy a copy with both
// directives, and move it back without them:
//
//	cd internal/e2e
//	cp go.mod tidy.mod && cp go.sum tidy.sum
//	go mod edit -require=github.com/kubembed/kubembed@v0.0.0 \
//		-replace=github.com/kubembed/kubembed=../.. tidy.mod
//	GOWORK=off go mod tidy -modfile=tidy.mod
//	go mod edit -droprequire=github.com/kubembed/kubembed \
//		-dropreplace=github.com/kubembed/kubembed tidy.mod
//	mv tidy.mod go.mod && mv tidy.sum go.sum
//	go vet ./... # Completes go.work.sum.
//
// All versions follow the library's go.mod: tidy takes them from there unless this
// module requires higher ones. In a workspace the go command selects the higher
// version, so a module that is raised only here is also raised for the library's tests.
// Keep k8s.io/* at one version in both files.
package e2e
