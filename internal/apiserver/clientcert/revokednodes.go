// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package clientcert

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/client-go/tools/cache"

	"github.com/kubembed/kubembed/internal/lifecycle"
	"github.com/kubembed/kubembed/internal/nodeidentity"
)

// RevokedNodes refuses nodes whose identity was revoked, except for the keys that were
// bound to their names afterwards. It comes before the cache of certificates.
type RevokedNodes struct {
	logger *zap.Logger
	synced func() bool

	// records are the enforced records, by the name of the node. The map is replaced,
	// never changed.
	records atomic.Pointer[map[string]*revokedNode]
	mu      sync.Mutex // held while records is replaced
	conns   Conns
}

type revokedNode struct {
	keys            map[string]bool
	resourceVersion string
}

func (r *revokedNode) accepts(key string) bool { return r == nil || key != "" && r.keys[key] }

func newRevokedNodes(secrets cache.SharedIndexInformer, logger *zap.Logger) (*RevokedNodes, error) {
	r := &RevokedNodes{logger: logger}
	r.records.Store(&map[string]*revokedNode{})
	registration, err := secrets.AddEventHandler(cache.FilteringResourceEventHandler{
		FilterFunc: func(object any) bool {
			if unknown, ok := object.(cache.DeletedFinalStateUnknown); ok {
				object = unknown.Obj
			}
			secret, ok := object.(*corev1.Secret)
			return ok && secret.Type == nodeidentity.SecretType && secret.Namespace == nodeidentity.Namespace
		},
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    r.set,
			UpdateFunc: func(_, after any) { r.set(after) },
			DeleteFunc: r.remove,
		},
	})
	if err != nil {
		return nil, fmt.Errorf("apiserver: records of nodes: %w", err)
	}
	r.synced = registration.HasSynced
	return r, nil
}

// waitSynced returns when the revocations from before the start are known.
func (r *RevokedNodes) waitSynced(ctx context.Context) error {
	if err := lifecycle.Poll(ctx, r.synced); err != nil {
		return fmt.Errorf("apiserver: records of nodes: %w", err)
	}
	return nil
}

func (r *RevokedNodes) set(object any) {
	secret, ok := object.(*corev1.Secret)
	if !ok {
		return
	}
	record, err := nodeidentity.Load(secret)
	if err != nil {
		// A client has changed the Secret. Earlier revocations stay in effect.
		r.logger.Error("the record of a node cannot be read: its last change is not enforced", zap.Error(err))
		return
	}
	var enforced *revokedNode
	if record.Enforced() {
		enforced = &revokedNode{keys: map[string]bool{}, resourceVersion: secret.ResourceVersion}
		for _, key := range record.Keys {
			enforced.keys[key.SHA256] = true
		}
	}
	r.replace(record.Node, enforced)
}

func (r *RevokedNodes) remove(object any) {
	if unknown, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = unknown.Obj
	}
	secret, ok := object.(*corev1.Secret)
	if !ok {
		return
	}
	if record, err := nodeidentity.Load(secret); err == nil {
		r.replace(record.Node, nil)
	}
}

func (r *RevokedNodes) replace(node string, enforced *revokedNode) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := *r.records.Load()
	if old[node] == nil && enforced == nil {
		return
	}
	records := maps.Clone(old)
	if enforced == nil {
		delete(records, node)
	} else {
		records[node] = enforced
	}
	r.records.Store(&records)
	r.conns.Close(node, enforced.accepts)
}

// check refuses revoked nodes.
func (r *RevokedNodes) check(req *http.Request, response *authenticator.Response) error {
	node, isNode := nodeidentity.NodeOfUser(response.User.GetName())
	if !isNode {
		return nil
	}
	key := nodeKey(response.User)
	// Add the connection before the check: one of the two sees a concurrent revocation.
	r.conns.Add(req, node, key)
	if !(*r.records.Load())[node].accepts(key) {
		return errRevokedNode
	}
	return nil
}

var errRevokedNode = errors.New("apiserver: the identity of the node was revoked")

// has reports whether the record of a node is known, at resourceVersion or newer.
func (r *RevokedNodes) has(node, resourceVersion string) bool {
	record := (*r.records.Load())[node]
	if record == nil {
		return false
	}
	order, err := resourceversion.CompareResourceVersion(record.resourceVersion, resourceVersion)
	return err != nil || order >= 0
}

// Wait returns when the keys of a node are refused that its record revokes at
// resourceVersion. The error is the cause of ctx if that ends first.
func (r *RevokedNodes) Wait(ctx context.Context, node, resourceVersion string) error {
	return lifecycle.Poll(ctx, func() bool { return r.has(node, resourceVersion) })
}
