package apiserver

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

	"github.com/kubembed/kubembed/internal/keyspace"
)

const (
	// recordTTL is how long the names of a stopped server stay reserved, as long as
	// upstream keeps the identity Lease of a server.
	recordTTL = time.Hour
	// recordInterval is how often a server reads the records of others.
	recordInterval = 10 * time.Second
	// recordTimeout bounds a call of etcd.
	recordTimeout = 5 * time.Second
	// recordLimit bounds the number of records that a server reads.
	recordLimit = 1000
)

// presenceRecord is where a server publishes its presence, in JSON, with an etcd lease.
type presenceRecord struct {
	client *clientv3.Client
	prefix string
	key    string

	mu        sync.Mutex
	lease     clientv3.LeaseID
	renewed   time.Time
	published string
}

func newPresenceRecord(client *clientv3.Client, keys keyspace.Keyspace, id string) *presenceRecord {
	return &presenceRecord{client: client, prefix: keys.Servers(), key: keys.Servers() + id}
}

// put writes the record if it has changed, and keeps its lease alive.
func (r *presenceRecord) put(ctx context.Context, own presence) error {
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
		// The lease may be the reason: the next try takes another.
		r.lease, r.published = 0, ""
		return err
	}
	r.published = value
	return nil
}

// list returns the presences of the other servers. own reports whether this server's
// record still exists.
func (r *presenceRecord) list(ctx context.Context) (others []presence, own bool, err error) {
	got, err := r.client.Get(ctx, r.prefix, clientv3.WithPrefix(), clientv3.WithLimit(recordLimit))
	if err != nil {
		return nil, false, err
	}
	for _, kv := range got.Kvs {
		if string(kv.Key) == r.key {
			own = true
			continue
		}
		var one presence
		if err := json.Unmarshal(kv.Value, &one); err != nil {
			return nil, own, fmt.Errorf("%s in etcd is malformed: %w", kv.Key, err)
		}
		others = append(others, one)
	}
	return others, own, nil
}

// forget makes the next put write again.
func (r *presenceRecord) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lease, r.published = 0, ""
}

// publish writes this server's record. It does nothing unless the etcd is shared.
func (p *presences) publish(ctx context.Context) error {
	if p.record == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	return p.record.put(ctx, p.own())
}

// refresh reads the records of the others. It does nothing unless the etcd is shared.
func (p *presences) refresh(ctx context.Context) error {
	if p.record == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	others, own, err := p.record.list(ctx)
	if err != nil {
		return err
	}
	p.others.Store(&others)
	if !own { // a restore, or somebody else, has removed it
		p.record.forget()
	}
	return nil
}

// run publishes and refreshes until ctx ends.
func (p *presences) run(ctx context.Context) {
	if p.record == nil {
		return
	}
	ticker := time.NewTicker(recordInterval)
	defer ticker.Stop()
	for {
		err := errors.Join(p.refresh(ctx), p.publish(ctx))
		if err != nil && ctx.Err() == nil {
			p.logger.Debug("names of API servers are not published, or not read", zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
