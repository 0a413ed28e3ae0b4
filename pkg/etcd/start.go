// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/grpc"

	"github.com/kubembed/kubembed/internal/etcd/calls"
	"github.com/kubembed/kubembed/internal/etcd/contain"
	"github.com/kubembed/kubembed/internal/etcd/dbcheck"
	"github.com/kubembed/kubembed/internal/etcd/diskguard"
	"github.com/kubembed/kubembed/internal/etcd/errdefs"
	"github.com/kubembed/kubembed/internal/etcd/inmem"
	"github.com/kubembed/kubembed/internal/etcd/limits"
	"github.com/kubembed/kubembed/internal/etcd/memberdir"
	"github.com/kubembed/kubembed/internal/etcd/peers"
	"github.com/kubembed/kubembed/internal/etcd/preflight"
	"github.com/kubembed/kubembed/internal/etcd/restore"
	"github.com/kubembed/kubembed/internal/etcd/upkeep"
	"github.com/kubembed/kubembed/internal/etcd/walcheck"
	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/internal/logging"
)

// Start starts a member and returns when it serves reads and writes: a standalone member
// as its own leader, a member of a cluster once that has a leader. ctx bounds the start
// only.
//
// If Start fails it leaves nothing behind: no goroutine, no lock and no new file. There
// are two exceptions: a member that fails, see the package documentation, and a ctx that
// ends while etcd reads a large database. Start then returns, and its work is undone when
// etcd has finished reading.
//
// Start returns the errors of this package, wrapped, and the cause of ctx when ctx ends.
func Start(ctx context.Context, cfg Config) (_ *Member, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	// The host may change its working directory later.
	if cfg.Dir, err = filepath.Abs(cfg.Dir); err != nil {
		return nil, fieldpath.New("etcd", "Config.Dir", "%w", err)
	}
	cfg.Cluster = (*Cluster)(cfg.Cluster.config().Clone())
	if ctx.Err() != nil {
		return nil, errdefs.Start(context.Cause(ctx))
	}
	directory, err := memberdir.Open(cfg.Dir)
	if err != nil {
		return nil, err
	}
	s := &starting{cfg: cfg, directory: directory, contain: contain.New(), disk: diskguard.New(cfg.Dir, cfg.Ephemeral)}
	defer s.close()
	if err := s.prepare(ctx); err != nil {
		directory.Undo()
		return nil, err
	}
	m := &Member{
		directory: directory, standalone: cfg.Cluster == nil, release: directory.Unlock, contain: s.contain,
		calls: calls.New(), watches: calls.New(),
		closing: make(chan struct{}), done: make(chan struct{}), supervised: make(chan struct{}),
	}
	if err := m.startEtcd(ctx, s.etcd); err != nil {
		return nil, errdefs.Start(err)
	}
	m.serveInMemory(s)
	go m.supervise()
	if err := m.takePart(ctx, s); err != nil {
		return nil, errors.Join(errdefs.Start(err), m.Close())
	}
	m.upkeep.Start(m.closing)
	return m, nil
}

// starting is a start before etcd runs.
type starting struct {
	cfg       Config
	directory *memberdir.Directory
	contain   *contain.Containment
	disk      *diskguard.Guard
	replay    walcheck.Replay
	others    *entry // nil for a standalone member
	etcd      *embed.Config
}

// prepare checks for everything that would make etcd give up, and makes etcd's
// configuration.
func (s *starting) prepare(ctx context.Context) error {
	if err := s.checkDirectory(ctx); err != nil {
		return err
	}
	if s.cfg.Cluster != nil {
		var err error
		if s.others, err = s.cfg.Cluster.enter(ctx, s.directory.Fresh); err != nil {
			return err
		}
	}
	if err := s.disk.CheckStart(s.directory.Fresh); err != nil {
		return err
	}
	s.etcd = s.cfg.embedConfig(s.contain.Logger(s.cfg.Logger), s.replay)
	s.etcd.BootstrapDefragThresholdMegabytes = upkeep.StartDefragmentMB(s.disk)
	if s.others == nil {
		return nil
	}
	if err := s.others.apply(s.etcd); err != nil {
		return err
	}
	if !s.others.proxied || s.others.members == nil {
		return nil
	}
	return s.contain.Run(func() error {
		return peers.PrepareJoin(s.others.Cluster, s.cfg.Dir, s.others.joined.Cluster, s.others.joined.Members, s.contain.Logger(s.cfg.Logger))
	})
}

func (s *starting) checkDirectory(ctx context.Context) error {
	if err := restore.RemoveLeftovers(s.directory); err != nil {
		return err
	}
	if err := limits.Check(s.cfg.Dir, s.cfg.quota()); err != nil {
		return err
	}
	if s.directory.Fresh {
		return nil
	}
	// A containment of its own: damage found here is no failed member.
	probe := contain.New()
	var err error
	if s.replay, err = preflight.Check(ctx, probe, s.cfg.Dir, s.cfg.Cluster == nil, probe.Logger(nil)); err != nil {
		return err
	}
	return dbcheck.CheckIdentity(probe, s.cfg.Dir, s.cfg.Cluster.identity())
}

// close releases the resources that only a start needs.
func (s *starting) close() {
	if s.others != nil {
		s.others.close()
	}
}

// startEtcd starts etcd. If it fails, it unlocks the directory.
func (m *Member) startEtcd(ctx context.Context, cfg *embed.Config) error {
	started := make(chan error, 1)
	go func() {
		started <- m.contain.Run(func() (err error) {
			m.etcd, err = embed.StartEtcd(cfg)
			return err
		})
	}()
	select {
	case err := <-started:
		if err != nil {
			m.abandon(m.contain.OK())
		}
		return err
	case <-m.contain.Failed():
		// etcd opens the database in a goroutine that StartEtcd waits for. If that
		// goroutine gave up, StartEtcd never returns.
		m.unwind(started)
		return m.contain.Err()
	case <-ctx.Done():
		m.unwind(started)
		return context.Cause(ctx)
	}
}

// serveInMemory creates the client and the in-memory gRPC server.
func (m *Member) serveInMemory(s *starting) {
	m.lg = logging.Plain(s.contain.Logger(s.cfg.Logger))
	m.upkeep = upkeep.New(m.etcd.Server, m.contain, m.calls, s.disk, m.lg)
	m.client = inmem.NewClient(inmem.Member{
		Server: m.etcd.Server, Contain: m.contain, Calls: m.calls, Watches: m.watches, Upkeep: m.upkeep,
		OpenSnapshot: func(ctx context.Context) (inmem.Snapshot, error) { return m.OpenSnapshot(ctx) },
	})
	m.gateway = inmem.NewGateway(func() *grpc.Server { return inmem.NewServer(m.etcd.Server, m.contain, m.upkeep) })
}

// takePart makes a standalone member its own leader, and any other part of its cluster.
func (m *Member) takePart(ctx context.Context, s *starting) error {
	if s.others == nil {
		err := m.elect(ctx, s.replay)
		if err != nil {
			m.release = m.directory.Undo
		}
		return err
	}
	if s.directory.Fresh {
		m.release = m.undoUnlessVoted
	}
	if err := m.participate(ctx, s.others, s.cfg.Logger); err != nil {
		return err
	}
	m.release = m.directory.Unlock
	return nil
}

// abandon ends a failed start. An etcd that gave up halfway may still have its files
// open, so they stay. etcd's own lock on the database then keeps others out.
func (m *Member) abandon(clean bool) {
	if clean {
		m.directory.Undo()
	} else {
		m.directory.Unlock()
	}
}

// unwind undoes a start whose StartEtcd has not returned. It waits for failedTimeout;
// after that a goroutine finishes the work.
func (m *Member) unwind(started <-chan error) {
	undone := make(chan struct{})
	go func() {
		defer close(undone)
		err := <-started
		clean := m.contain.OK()
		if err == nil {
			m.etcd.Close()
			// It may have voted for or acknowledged writes of other members.
			clean = m.standalone
		}
		m.abandon(clean)
	}()
	select {
	case <-undone:
	case <-time.After(failedTimeout):
	}
}

// elect makes the member its own leader and waits until it serves. Waiting for raft's
// election timeout is pointless for a single member. The message by which a leader hands
// over makes it campaign at once. If raft ignored it, the timeout would still elect the
// member, only later.
//
// A campaign makes raft read the entries that it does not yet know to be applied. It
// panics if etcd has dropped them from memory, which etcd may do in the instant between
// applying them and notifying raft. So the member does not campaign at once when etcd
// drops entries: after 100 entries without a snapshot, it always drops the first. With a
// snapshot it drops none, because SnapshotCatchUpEntries covers all replayed entries.
// Such a start takes 100 to 500 ms longer; it can only follow the first 1,000 writes.
func (m *Member) elect(ctx context.Context, r walcheck.Replay) error {
	campaign := r.CanCampaign()
	s := m.etcd.Server
	id := uint64(s.MemberID())
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for {
		// Raft refuses to campaign before it knows its configuration.
		if applied := s.AppliedIndex(); campaign && s.Leader() == 0 && applied > 0 && applied >= s.CommittedIndex() {
			_ = s.Process(ctx, &raftpb.Message{Type: raftpb.MsgTimeoutNow.Enum(), From: &id, To: &id})
		}
		select {
		case <-s.ReadyNotify():
			return m.firstRead(ctx)
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-m.done:
			return m.err
		case <-poll.C:
		}
	}
}

// firstRead reads until etcd's read loop knows the leader. The loop gets the leader and
// the first read by two channels. If both are ready and it takes the read first, as
// happens on a busy machine, it answers that the leader has changed.
func (m *Member) firstRead(ctx context.Context) error {
	for {
		_, err := m.client.Get(ctx, "\x00", clientv3.WithCountOnly())
		if !errors.Is(err, rpctypes.ErrLeaderChanged) {
			return err
		}
	}
}
