// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package nodeidentity records the keys that may use the name of a node. The approver of
// join requests reserves a name for a key, the API server refuses the keys of revoked
// nodes, and operators see which node joined with which join file.
//
// A record is a Secret of type [SecretType] in kube-system, one for each name. It has
// hashes of public keys and nothing secret. But it decides which client is trusted as a
// node, and few users may write Secrets in kube-system. All control planes that share an
// etcd share the records. The API server rejects conflicting updates: of two keys that
// request the same name at the same time only one gets it.
package nodeidentity
