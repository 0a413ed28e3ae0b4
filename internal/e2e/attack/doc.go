// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package attack runs all attacks against a control plane at once, while an
// administrator writes and nodes send heartbeats, and checks that it survives.
//
//	go test ./internal/e2e/attack -v # 20 seconds
//	go test ./internal/e2e/attack -v -timeout=40m -args -for=24m -recovery=5s # as root
//	go test ./internal/e2e/attack -v -args -for=10s -attacks=idle-tcp,rapid-reset # some
//
// The control plane is a process of its own: this test binary with another name, a data
// directory on disk, 1,024 file descriptors, 50 hollow nodes, the scheduler, the
// controllers, an audit log, snapshots every few seconds, and an insecure listener on
// loopback. The attackers (attacks_test.go) have the addresses, stolen join files, the
// certificate of a compromised node, a user who may use the proxy of that node, a web
// page in the administrator's browser, and the input of a careless administrator who
// posts the findings of a fuzzer.
//
// TestAttacks fails if the control plane's process ends, an acknowledged write is lost,
// an attacker succeeds, an honest node is ever not ready, or memory, log or descriptors
// exceed their bounds. It also fails if the control plane does not recover within the
// recovery time after the attacks: a new client creates, lists and watches, /readyz is
// green, and all nodes are Ready.
//
// As root, snapshots go to a small disk of their own, which one attack fills.
package attack
