// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package cluster tests control planes whose etcd members form one cluster. Each runs
// in its own process, this test binary with another name, on its own loopback address,
// which Linux has by default. The tests start, kill and pause the processes like
// machines that fail.
//
// The chaos tests do so under load, with a network namespace for each member that can
// be cut off. They check the answers to clients for linearizability (package history).
package cluster
