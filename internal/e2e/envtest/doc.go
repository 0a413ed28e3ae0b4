// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package envtest tests the programs of pkg/controlplanetest/assets: that they take
// envtest's flags (flags, programs), and that other projects' suites pass with them
// (suites).
//
// The suites are copied unchanged from the module cache. They are built in a workspace
// with the library, so that common dependencies are compiled once, in the higher
// version. The projects are independent of this one:
//
//   - sigs.k8s.io/controller-runtime, which includes envtest itself
//   - github.com/kubernetes-sigs/kro, which creates CRDs and controllers at run time
//
// They run on request. A part of each takes some minutes, all of them half an hour or
// more:
//
//	go test ./internal/e2e/envtest -run=Suites -count=1 -v -timeout=20m -args -suites
//	go test ./internal/e2e/envtest -run=Suites -count=1 -v -timeout=90m -args -all
//
// To run them with other programs, such as the kube-apiserver and etcd that envtest
// would download:
//
//	go test ./internal/e2e/envtest -run=Suites -count=1 -v -timeout=90m \
//		-args -all -assets=/path/to/directory
package envtest
