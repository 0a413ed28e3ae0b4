// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package olddata

import (
	"crypto/sha256"
	"encoding/hex"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// Record describes a DataDir as the release that wrote it sees it.
type Record struct {
	// Kubernetes and Etcd are the versions of the release, like v1.36.3 and 3.6.16.
	Kubernetes string `json:"kubernetes"`
	Etcd       string `json:"etcd"`
	// Made is the time of the write.
	Made time.Time `json:"made"`
	// Killed reports that the control plane was killed, not stopped.
	Killed bool `json:"killed"`
	// Secretbox is the key of Config.Encryption, and SnapshotKey that of Config. They
	// are empty if the DataDir was written without them.
	Secretbox   []byte `json:"secretbox,omitempty"`
	SnapshotKey []byte `json:"snapshotKey,omitempty"`
	// Admin is a kubeconfig of group system:masters, Join one of JoinKubeconfig, and
	// Token that of a service account in the namespace olddata.
	Admin []byte `json:"admin"`
	Join  []byte `json:"join"`
	Token string `json:"token"`
	// Keys are all keys in etcd, at Revision.
	Revision int64 `json:"revision"`
	Keys     []Key `json:"keys"`
	// Objects are all objects of every resource that can be listed, in its preferred
	// version.
	Objects []Object `json:"objects"`
}

// Key is one key of etcd.
type Key struct {
	Key string `json:"key"`
	// Sum is the result of the function Sum for the value.
	Sum     string `json:"sum"`
	Create  int64  `json:"create"`
	Mod     int64  `json:"mod"`
	Version int64  `json:"version"`
	Lease   int64  `json:"lease,omitempty"`
}

// Object is one object of the API.
type Object struct {
	Group    string         `json:"group,omitempty"`
	Version  string         `json:"version"`
	Resource string         `json:"resource"`
	Object   map[string]any `json:"object"`
}

// Sum identifies a value of etcd.
func Sum(value []byte) string {
	sum := sha256.Sum256(value)
	return hex.EncodeToString(sum[:8])
}

// Keys describes keys and values of etcd.
func Keys(kvs []*mvccpb.KeyValue) []Key {
	keys := make([]Key, 0, len(kvs))
	for _, kv := range kvs {
		keys = append(keys, Key{string(kv.Key), Sum(kv.Value), kv.CreateRevision, kv.ModRevision, kv.Version, kv.Lease})
	}
	return keys
}
