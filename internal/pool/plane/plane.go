// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package plane is a control plane that tests lease one after another.
package plane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/authenticator"

	"github.com/kubembed/kubembed/internal/logging"
	"github.com/kubembed/kubembed/internal/pool/protocol"
	"github.com/kubembed/kubembed/internal/tempdir"
	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// maxLeases bounds the leases of a control plane: etcd keeps the history of all of them
// for five minutes.
const maxLeases = 100

// maxDatabase is the size of etcd's database, in bytes, above which a control plane is
// not used again: the file does not shrink, and its pages stay in memory. It is far below
// the quota, so that no lease begins near it.
const maxDatabase = 64 << 20

// compareAll is the number of leases of a control plane after which Reset compares all
// resources. After the other leases it compares the written ones: 60 lists take longer
// than the rest of a reset.
const compareAll = 10

// Plane is a running control plane.
type Plane struct {
	server        *controlplane.Server
	gate          *gate
	administrator administrator
	marks         *marks
	logs          logs
	dir           *tempdir.Dir // of the audit log
	auditPath     string
	baseline      *controlplane.Checkpoint
	identity      identity
	leases        int
	nodes         bool // has simulated ones
	since         time.Time
	closed        func() error

	mu          sync.Mutex
	checkpoints []*controlplane.Checkpoint // of the current or last lease
}

// Start starts a control plane with options.
func Start(ctx context.Context, options protocol.Options) (*Plane, error) {
	return start(ctx, options, 0)
}

// start starts a control plane whose database has a quota, in bytes, unless it is 0.
func start(ctx context.Context, options protocol.Options, quota int64) (p *Plane, err error) {
	p = &Plane{marks: &marks{}, since: time.Now(), nodes: slices.Contains(options.Components, protocol.HollowNodes)}
	p.closed = sync.OnceValue(p.close)
	defer func(begun *Plane) { // a return of nil has set p
		if err != nil {
			err = errors.Join(err, begun.Close())
		}
	}(p)
	cfg, err := config(options)
	if err != nil {
		return nil, err
	}
	cfg.Etcd.QuotaBytes = quota
	if options.Audit {
		if p.dir, err = tempdir.Make("audit"); err != nil {
			return nil, err
		}
		p.auditPath = filepath.Join(p.dir.Path, "audit.log")
		cfg.Audit.Log.Path = p.auditPath
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p.gate = &gate{Listener: listener}
	cfg.Listener = p.gate
	cfg.Logger = logging.NewText(p.logs.add)
	cfg.Authentication.Before = []authenticator.Request{p.administrator.request()}
	cfg.Admission.Plugins = []apiserver.AdmissionPlugin{{Name: pluginName, New: func() (admission.Interface, error) { return p.marks, nil }}}
	if p.server, err = controlplane.Start(ctx, cfg); err != nil {
		return nil, err
	}
	if err = waitForStartup(ctx, p.server.ClientConfig()); err != nil {
		return nil, err
	}
	if p.identity, err = identify(ctx, p.server.ClientConfig(), nil); err != nil {
		return nil, err
	}
	p.baseline, err = p.server.Checkpoint(ctx)
	return p, err
}

// Begin begins a lease.
func (p *Plane) Begin(id string) protocol.Lease {
	p.leases++
	p.mu.Lock()
	p.checkpoints = nil
	p.mu.Unlock()
	p.logs.clear()
	p.gate.open()
	return protocol.Lease{ID: id, URL: p.server.URL(), CABundle: caBundle(id, p.server.CABundle()), Token: p.administrator.renew(), AuditPath: p.auditPath}
}

// caBundle returns CA certificates after a line with the lease. Clients of client-go with
// the same CA bundle, and no client certificates, share connections. A client of a later
// lease in the same process must not get one that End closes.
func caBundle(id string, certificates []byte) []byte {
	return append([]byte("# lease "+id+"\n"), certificates...)
}

// End disconnects the clients of the lease.
func (p *Plane) End() {
	p.administrator.revoke()
	p.gate.shut()
}

// Reset brings the control plane to the state of its start. An error means: discard the
// control plane. No call of the lease may run.
func (p *Plane) Reset(ctx context.Context) error {
	if why := p.marks.why(); why != "" {
		return errors.New(why)
	}
	if p.leases >= maxLeases {
		return fmt.Errorf("it had %d leases", p.leases)
	}
	if p.nodes {
		return errors.New("simulated nodes have a state of their own")
	}
	if p.auditPath != "" {
		// The next lease reads from the end: a log that grows is no longer new.
		return errors.New("its audit log has requests")
	}
	status, err := p.server.EtcdStatus(ctx)
	if err != nil {
		return err
	}
	if status.SizeBytes > maxDatabase || len(status.Alarms) > 0 {
		return fmt.Errorf("its database has %d bytes, and alarms %q", status.SizeBytes, status.Alarms)
	}
	if err := p.baseline.Rollback(ctx); err != nil {
		return err
	}
	written := p.marks.written()
	if p.leases%compareAll == 0 {
		written = nil
	}
	now, err := identify(ctx, p.server.ClientConfig(), written)
	if err != nil {
		return err
	}
	return p.identity.compare(now)
}

// Done is closed when the control plane has stopped.
func (p *Plane) Done() <-chan struct{} { return p.server.Done() }

// Err returns the reason why it stopped by itself.
func (p *Plane) Err() error { return p.server.Err() }

// URL returns the address of the API server.
func (p *Plane) URL() string { return p.server.URL() }

// Leases returns the number of leases so far.
func (p *Plane) Leases() int { return p.leases }

// Since returns when it started.
func (p *Plane) Since() time.Time { return p.since }

// Close stops the control plane.
func (p *Plane) Close() error { return p.closed() }

func (p *Plane) close() error {
	var errs []error
	switch {
	case p.server != nil:
		errs = append(errs, p.server.Close())
	case p.gate != nil:
		_ = p.gate.Close() // the failed start may have closed it
	}
	return errors.Join(append(errs, p.dir.Remove())...)
}
