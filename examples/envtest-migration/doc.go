// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package migration has three versions of a Ginkgo suite for the controller of
// examples/controller-test:
//
//   - before: with envtest, as kubebuilder generates it. It runs if KUBEBUILDER_ASSETS
//     names a directory with kube-apiserver and etcd.
//   - oneline: with envtest's installers of CRDs and webhooks on a control plane of
//     controlplanetest. It sets two more fields and has one more call.
//   - after: with controlplanetest only.
//
// Package failures has failing suites, and tests their dumps.
//
// What differs is suite_test.go. What the suite tests, and how it starts its
// manager, is the same in all of them: page_test.go and manager_test.go.
// pkg/controlplanetest/MIGRATION.md has the rest of envtest.
package migration
