// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package certificates runs the controllers of CertificateSigningRequests, as
// kube-controller-manager does, and of bootstrap tokens: upstream's approver, cleaner,
// bootstrap signer and token cleaner, an approver for the requests of kubelets, which
// upstream leaves to the operator, and a signer of our own around upstream's signing
// code.
//
// # Policy
//
// All other requests than these stay pending until kubectl certificate approve.
//
//   - A client with a join token gets the first client certificate of a node that does
//     not exist yet and whose name is not reserved for another key. It gets nothing else
//     from the signers kubernetes.io/*.
//   - A node gets new client certificates for its own name, which upstream's approver
//     approves after a SubjectAccessReview. It gets serving certificates for its own name
//     and for the addresses of its Node object, except for addresses of the control
//     plane, of Services and of webhooks. Addresses that other nodes have registered do
//     not matter. A separate CA signs the serving certificates.
//
// # Names and keys
//
// The name of a node is reserved for the key of its first certificate, from the approval
// until its Node is deleted. The reservation is in a record (package nodeidentity), which
// is stored before the request is approved. The signer adds the keys with which a node
// renews its certificate. It refuses, with the condition Failed, requests of a revoked
// key or of a key that no longer owns the name.
//
// # Denials
//
// Invalid requests are denied. The condition Denied and the log have all reasons. A
// kubelet retries by itself, after seconds at first and later twice a minute. Denied
// requests are deleted after an hour.
package certificates
