// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package kubeapiserver implements the program kube-apiserver of package assets: its
// flags (flags.go), the apiserver.Config that they configure (config.go,
// identities.go), and the server (run.go).
package kubeapiserver
