// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package presence

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/kubembed/kubembed/internal/keyspace"
)

const (
	// recordTTL is how long the names of a stopped server stay reserved: as long as
	// upstream keeps the identity Lease of a server.
	recordTTL = time.Hour
	// recordInterval is how often a server publishes its record and reads the others.
	recordInterval = 10 * time.Second
	// recordTimeout bounds each call of etcd.
	recordTimeout = 5 * time.Second
	// recordLimit bounds the number of records that a server reads.
	recordLimit = 1000
)

// Records are the published presences, in JSON below Keyspace.Servers. Each expires with
// an etcd lease.
type Records struct {
	client *clientv3.Client
	prefix string
	key    string

	mu        sync.Mutex
	lease     clientv3.LeaseID
	renewed   time.Time
	published string
}

// NewRecords returns the records with that of server id.
func NewRecords(client *clientv3.Client, keys keyspace.Keyspace, id string) *Records {
	return &Records{client: client, prefix: keys.Servers(), key: keys.Servers() + id}
}

// put writes the record of this server if it has changed, and renews its lease.
func (r *Records) put(ctx context.Context, own Presence) error {
	data, err := json.Marshal(own)
	if err != nil {
		return err
	}
	value := string(data)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lease != 0 && r.published == value {
		if time.Since(r.renewed) < recordTTL/4 {
			return nil
		}
		_, err := r.client.KeepAliveOnce(ctx, r.lease)
		if err == nil {
			r.renewed = time.Now()
			return nil
		}
		if !errors.Is(err, rpctypes.ErrLeaseNotFound) {
			return err
		}
		r.lease = 0
	}
	if r.lease == 0 {
		granted, err := r.client.Grant(ctx, int64(recordTTL/time.Second))
		if err != nil {
			return err
		}
		r.lease, r.renewed = granted.ID, time.Now()
	}
	if _, err := r.client.Put(ctx, r.key, value, clientv3.WithLease(r.lease)); err != nil {
		// The lease may be the reason: the next call requests another one.
		r.lease, r.published = 0, ""
		return err
	}
	r.published = value
	return nil
}

// list returns the presences of the other servers. own reports whether the record of this
// server exists.
func (r *Records) list(ctx context.Context) (others []Presence, own bool, err error) {
	got, err := r.client.Get(ctx, r.prefix, clientv3.WithPrefix(), clientv3.WithLimit(recordLimit))
	if err != nil {
		return nil, false, err
	}
	for _, kv := range got.Kvs {
		if string(kv.Key) == r.key {
			own = true
			continue
		}
		var other Presence
		if err := json.Unmarshal(kv.Value, &other); err != nil {
			return nil, own, fmt.Errorf("%s in etcd is malformed: %w", kv.Key, err)
		}
		others = append(others, other)
	}
	return others, own, nil
}

// forget makes the next put write the record again.
func (r *Records) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lease, r.published = 0, ""
}

// Publish writes this server's record. Without Records it does nothing.
func (r *Registry) Publish(ctx context.Context) error {
	if r.config.Records == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	return r.config.Records.put(ctx, r.own())
}

// Refresh reads the records of the other servers. Without Records it does nothing.
func (r *Registry) Refresh(ctx context.Context) error {
	if r.config.Records == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	others, own, err := r.config.Records.list(ctx)
	if err != nil {
		return err
	}
	r.others.Store(&others)
	if !own { // a rollback or another client has deleted it
		r.config.Records.forget()
	}
	return nil
}

// Run publishes and refreshes until ctx ends. Without Records it does nothing.
func (r *Registry) Run(ctx context.Context) {
	if r.config.Records == nil {
		return
	}
	wait.NonSlidingUntilWithContext(ctx, func(ctx context.Context) {
		if err := errors.Join(r.Refresh(ctx), r.Publish(ctx)); err != nil && ctx.Err() == nil {
			r.config.Logger.Debug("names of API servers are not published, or not read", zap.Error(err))
		}
	}, recordInterval)
}
