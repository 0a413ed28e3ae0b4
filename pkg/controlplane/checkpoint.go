// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kubernetes/pkg/controller/certificates/rootcacertpublisher"

	"github.com/kubembed/kubembed/internal/checkpoint"
	"github.com/kubembed/kubembed/internal/controllers"
	"github.com/kubembed/kubembed/internal/controlplane/rollback"
	"github.com/kubembed/kubembed/pkg/apiserver"
)

// Checkpoint is the state of a control plane at one moment.
type Checkpoint struct {
	server *Server
	stored *checkpoint.Checkpoint
	mu     sync.Mutex // held by Rollback
}

// Checkpoint records every stored object, for Rollback. It is for tests and
// demonstrations, not for backups: it stays in memory, where it takes some hundred bytes
// for each object on top of the object itself, and it belongs to this Server only. It
// takes about a millisecond for a new control plane.
func (s *Server) Checkpoint(ctx context.Context) (*Checkpoint, error) {
	stored, err := checkpoint.Take(ctx, s.etcd.Client(), s.keyspace().Prefix())
	if err != nil {
		return nil, fmt.Errorf("controlplane: checkpoint: %w", err)
	}
	c := &Checkpoint{server: s, stored: stored}
	c.adoptStartup()
	return c, nil
}

// Rollback brings the control plane back to the checkpoint. It deletes objects that were
// created since then, and puts changed and deleted objects back, with their UIDs. It does
// so in etcd: finalizers, webhooks and admission policies do not run, and nothing is
// restarted. Watches and informers see deletions, additions and modifications. Resource
// versions go on.
//
// When Rollback returns, the control plane has applied the changes. Authorization,
// admission and quotas match the checkpoint, removed custom resources are no
// longer served, and controllers have stopped to write. This takes milliseconds, and some
// tens of them with new custom resources or admission policies.
//
// Objects that a controller has yet to create at the moment of the checkpoint are new to
// a rollback, and created again after it. So let Deployments and the like become ready
// before the checkpoint. The default service account and the root CA of a namespace are
// no such objects: a rollback lets them stay.
//
// Writes during a rollback are lost, or keep Rollback from returning if they do not stop.
// Stop your own controllers, managers and other clients before. Requests in flight get
// one second to end. When ctx ends, the error names the keys that keep changing.
//
// Leases and Events of the time of the checkpoint stay as they are: Leases are
// heartbeats. A service account's tokens are accepted for up to ten seconds after the
// account is deleted, as always in Kubernetes.
//
// The garbage collector goes on to treat an object as deleted that waited for a finalizer
// or a kubelet when a rollback put it back: it is not collected with its owner. Where
// several control planes share an etcd, the controllers of the others must not run.
//
// Rollback may be called any number of times. Concurrent calls run one after the other.
func (c *Checkpoint) Rollback(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := rollback.Run(ctx, rollback.Config{
		Checkpoint: c.stored, Client: c.server.etcd.Client(), Keyspace: c.server.keyspace(),
		Server: rollbackServer{apiServer: c.server.apiserver, syncs: &c.server.syncs}, StartupKeys: c.server.startupKeys(), Recreated: c.recreated,
	})
	if err != nil {
		return fmt.Errorf("controlplane: rollback: %w", err)
	}
	return nil
}

// rollbackServer is the API server as package rollback uses it.
type rollbackServer struct {
	apiServer
	syncs *controllers.Syncs
}

func (s rollbackServer) Drain(ctx context.Context) error {
	s.syncs.Cancel()
	// One may have sent its last request just before.
	return errors.Join(s.apiServer.WaitForWrites(ctx), s.syncs.Wait(ctx), s.apiServer.WaitForWrites(ctx))
}

func (s rollbackServer) WaitForAPIs(ctx context.Context, resources []schema.GroupResource, versions []schema.GroupVersion) error {
	return s.apiServer.WaitForAPIs(ctx, apiserver.APIs{Resources: resources, GroupVersions: versions})
}

// recreated reports whether a key is one of the objects that controllers keep in every
// namespace, in a namespace of the checkpoint.
func (c *Checkpoint) recreated(key string) bool {
	if c.server.config.DisableCoreControllers {
		return false // The host keeps them.
	}
	prefix := c.server.keyspace().Prefix()
	parts := strings.Split(strings.TrimPrefix(key, prefix), "/")
	if len(parts) != 3 || !c.stored.Had(prefix+"namespaces/"+parts[1]) {
		return false
	}
	return parts[0] == "serviceaccounts" && parts[2] == "default" ||
		parts[0] == "configmaps" && parts[2] == rootcacertpublisher.RootCACertConfigMapName
}

// startupTimeout bounds the wait of a checkpoint for the startup keys.
const startupTimeout = 2 * time.Second

// startupKeys returns the keys that upstream's controllers write within a tenth of a
// second of a start. No start waits for them. They belong to every checkpoint.
func (s *Server) startupKeys() []string {
	keys := []string{
		"services/specs/default/kubernetes",
		"ipaddresses/" + s.serviceIP.String(),
		"configmaps/kube-system/extension-apiserver-authentication",
		"configmaps/kube-system/kube-apiserver-legacy-service-account-token-tracking",
		"leases/kube-system/" + s.apiserver.ID(),
	}
	if s.apiserver.PublishesAddress() {
		keys = append(keys, "services/endpoints/default/kubernetes", "endpointslices/default/kubernetes")
	}
	for i, key := range keys {
		keys[i] = s.keyspace().Prefix() + key
	}
	return keys
}

// adoptStartup makes the first values of the startup keys part of the checkpoint.
func (c *Checkpoint) adoptStartup() {
	c.server.goroutines.Do(context.Background(), func() {
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), startupTimeout)
			defer cancel()
			// The watch ends with etcd too.
			c.stored.AdoptFirst(ctx, c.server.startupKeys())
		}()
	})
}
