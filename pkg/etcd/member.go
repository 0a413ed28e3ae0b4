package etcd

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/grpc"

	"github.com/kubembed/kubembed/internal/connlimit"
	"github.com/kubembed/kubembed/internal/etcd/contain"
	"github.com/kubembed/kubembed/internal/etcd/dbcheck"
	"github.com/kubembed/kubembed/internal/etcd/diskguard"
	"github.com/kubembed/kubembed/internal/etcd/errdefs"
	"github.com/kubembed/kubembed/internal/etcd/limits"
	"github.com/kubembed/kubembed/internal/etcd/memberdir"
	"github.com/kubembed/kubembed/internal/etcd/preflight"
	"github.com/kubembed/kubembed/internal/etcd/restore"
	"github.com/kubembed/kubembed/internal/etcd/walcheck"
	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/internal/logging"
)

// failedTimeout bounds how long a failed member gets to stop. It either
// stops in milliseconds or is stuck on a goroutine that gave up.
const failedTimeout = 2 * time.Second

// drainTimeout bounds how long Close waits for calls that are in flight. A test prolongs it.
var drainTimeout = time.Second

// closeTimeout bounds how long one gets that is well. It has a commit and a
// synchronization to do; one that takes so long is on a disk that hangs. Tests shorten it.
var closeTimeout = 30 * time.Second

// Member is a running etcd member. Its methods may be called concurrently.
type Member struct {
	directory *memberdir.Directory
	alone     bool
	release   func() // gives the directory free: keeps it, or undoes a failed start
	contain   *contain.Containment
	etcd      *embed.Etcd
	client    *clientv3.Client
	gate      *gate // reads and writes
	watches   *gate
	gateway   *gateway
	upkeep    *upkeep

	// Of a member that has others.
	network *network
	peers   *peerServer  // for the others, of which it is one
	clients *grpc.Server // for the others
	// clientListener is that of clients.
	clientListener *connlimit.Listener
	serving        sync.WaitGroup // it, and promoteSelf

	closeOnce sync.Once
	closing   chan struct{} // closed when Close begins
	closeErr  error

	doneOnce   sync.Once
	done       chan struct{}
	err        error         // set before done is closed
	supervised chan struct{} // closed when supervise returned
}

// Start starts a member and returns when it is its own leader and serves reads
// and writes. ctx bounds the start only.
//
// If Start fails it leaves nothing behind: no goroutine, no lock, and no file
// that was not there before. The exceptions are those of a member that fails,
// see the package documentation, and a ctx that ends while etcd is reading a
// large database: Start returns and what it began is undone when etcd is
// through.
//
// Start returns ErrInUse, ErrNewerVersion and ErrCorrupt, wrapped, and the
// ctx's cause when ctx ends.
func Start(ctx context.Context, cfg Config) (_ *Member, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	// The host may change its working directory later.
	if cfg.Dir, err = filepath.Abs(cfg.Dir); err != nil {
		return nil, fieldpath.New("etcd", "Config.Dir", "%w", err)
	}
	cfg.Cluster = cfg.Cluster.clone()
	if ctx.Err() != nil {
		return nil, errdefs.Start(context.Cause(ctx))
	}
	f, err := memberdir.Open(cfg.Dir)
	if err != nil {
		return nil, err
	}
	if err := restore.RemoveLeftovers(f); err != nil {
		f.Undo()
		return nil, err
	}
	if err := limits.Check(f.Dir, cfg.quota()); err != nil {
		f.Undo()
		return nil, err
	}
	c := contain.New()
	lg := c.Logger(cfg.Logger)
	var r walcheck.Replay
	if !f.Fresh {
		// A containment of its own: damage found here is no failed member.
		probe := contain.New()
		if r, err = preflight.Check(ctx, probe, cfg.Dir, cfg.Cluster == nil, probe.Logger(nil)); err != nil {
			f.Undo()
			return nil, err
		}
		if err := dbcheck.CheckIdentity(probe, cfg.Dir, cfg.Cluster.identity()); err != nil {
			f.Undo()
			return nil, err
		}
	}
	var others *entry
	if cfg.Cluster != nil {
		if others, err = cfg.Cluster.enter(ctx, f.Fresh); err != nil {
			f.Undo()
			return nil, err
		}
		defer others.close()
	}
	room := diskguard.New(cfg.Dir, cfg.Ephemeral)
	if err := room.CheckStart(f.Fresh); err != nil {
		f.Undo()
		return nil, err
	}

	m := &Member{
		directory: f, alone: cfg.Cluster == nil, release: f.Unlock, contain: c, gate: newGate(), watches: newGate(),
		closing: make(chan struct{}), done: make(chan struct{}), supervised: make(chan struct{}),
	}
	ec := cfg.embedConfig(lg, r)
	ec.BootstrapDefragThresholdMegabytes = startDefragmentMB(room)
	if others != nil {
		if err := others.apply(ec); err != nil {
			f.Undo()
			return nil, err
		}
		if others.proxied && others.members != nil {
			if err := c.Run(func() error { return others.prepareJoin(cfg.Dir, others.joined.cluster, others.joined.members, lg) }); err != nil {
				f.Undo()
				return nil, err
			}
		}
	}
	started := make(chan error, 1)
	go func() {
		started <- c.Run(func() (err error) {
			m.etcd, err = embed.StartEtcd(ec)
			return err
		})
	}()

	select {
	case err = <-started:
		if err != nil {
			m.abandon(c.OK())
			return nil, errdefs.Start(err)
		}
	case <-c.Failed():
		// etcd opens the database in a goroutine that StartEtcd waits for; if
		// that one gave up, StartEtcd never returns.
		m.unwind(started)
		return nil, errdefs.Start(c.Err())
	case <-ctx.Done():
		m.unwind(started)
		return nil, errdefs.Start(context.Cause(ctx))
	}

	m.upkeep = newUpkeep(m.etcd.Server, c, m.gate, room, logging.Plain(lg))
	m.client = newClient(m.etcd.Server, c, m.gate, m.watches, m.upkeep)
	guardRest(m)
	m.gateway = &gateway{server: func() *grpc.Server { return newServer(m.etcd.Server, c, m.upkeep) }}
	go m.supervise()
	if others != nil {
		if f.Fresh {
			m.release = m.forgetUnlessPromised
		}
		if err := m.participate(ctx, others, cfg.Logger); err != nil {
			return nil, errors.Join(errdefs.Start(err), m.Close())
		}
		m.release = f.Unlock
	} else if err := m.elect(ctx, r); err != nil {
		m.release = f.Undo
		return nil, errors.Join(errdefs.Start(err), m.Close())
	}
	m.upkeep.start(m.closing)
	return m, nil
}

// abandon ends a start that failed. If etcd gave up in the middle it may still
// have its files open, so they are left; its own lock on the database then
// keeps others out.
func (m *Member) abandon(clean bool) {
	if clean {
		m.directory.Undo()
	} else {
		m.directory.Unlock()
	}
}

// unwind undoes a start whose StartEtcd has not returned. It waits for it, but
// not for long: the goroutine that it leaves finishes the work.
func (m *Member) unwind(started <-chan error) {
	undone := make(chan struct{})
	go func() {
		defer close(undone)
		err := <-started
		clean := m.contain.OK()
		if err == nil {
			m.etcd.Close()
			// It may have made promises to others.
			clean = m.alone
		}
		m.abandon(clean)
	}()
	select {
	case <-undone:
	case <-time.After(failedTimeout):
	}
}

// elect makes the member its own leader and waits until it serves. Waiting for
// raft's election timeout is pointless for a single member; the message that
// is sent when a leader hands over makes it campaign at once. Were it ignored,
// the timeout would elect the member as ever, only later.
//
// A campaign makes raft look through the entries that it does not yet know to
// be applied, and panic if etcd has dropped them from memory already, which
// etcd may do in the instant between applying them and telling raft. So there
// is no hurry when etcd drops any: after 100 entries without a snapshot, it
// always drops the first. With a snapshot it drops none, because
// SnapshotCatchUpEntries covers all that is replayed. A start that must not
// hurry takes 100 to 500 ms longer; it can only follow the first 1,000 writes.
func (m *Member) elect(ctx context.Context, r walcheck.Replay) error {
	hurry := r.CanCampaign()
	s := m.etcd.Server
	id := uint64(s.MemberID())
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for {
		// Raft refuses to campaign before it knows its configuration.
		if applied := s.AppliedIndex(); hurry && s.Leader() == 0 && applied > 0 && applied >= s.CommittedIndex() {
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

// firstRead reads until etcd's reads know that there is a leader. They learn of it and
// of the first read by two channels, and when both are ready and they see to the read
// first, they answer that the leader has changed, which a busy machine makes happen.
func (m *Member) firstRead(ctx context.Context) error {
	for {
		_, err := m.client.Get(ctx, "\x00", clientv3.WithCountOnly())
		if !errors.Is(err, rpctypes.ErrLeaderChanged) {
			return err
		}
	}
}

// supervise turns an end that nobody asked for into Done and Err.
func (m *Member) supervise() {
	defer close(m.supervised)
	var err error
	select {
	case <-m.closing:
		return
	case <-m.contain.Failed():
		err = m.contain.Err()
	case <-m.etcd.Server.StopNotify():
		err = errors.New("the server stopped by itself")
	case err = <-m.etcd.Err():
		if err == nil {
			err = errors.New("the server stopped by itself")
		}
	}
	if !m.alone && m.removed() {
		err = m.removedError()
	}
	m.gate.close()
	m.gateway.refuse()
	m.finish(fmt.Errorf("etcd: member failed: %w", err))
}

// finish closes done, once, with the reason.
func (m *Member) finish(err error) {
	m.doneOnce.Do(func() {
		m.err = err
		close(m.done)
	})
}

// Client returns the client of the member. It calls the server's functions
// directly: no socket, no framing. It is shared and belongs to the member;
// callers must not close it. After Close, and once the member failed, reads
// and writes return rpctypes.ErrStopped and watches are closed.
//
// The events of a watch are shared with every other watch of the process:
// callers must not change them.
func (m *Member) Client() *clientv3.Client { return m.client }

// Done returns a channel that is closed when the member has stopped, by Close
// or by itself. After the latter, Close must still be called.
func (m *Member) Done() <-chan struct{} { return m.done }

// Err returns why the member stopped by itself. It is nil while the member
// runs and after a plain Close.
func (m *Member) Err() error {
	select {
	case <-m.done:
		return m.err
	default:
		return nil
	}
}

// Close stops the member and waits until it has stopped. It may be called
// again, and concurrently; every call waits and returns the same error. The
// steps, in order:
//
//  1. refuse new calls of the client and new dials;
//  2. cut the in-memory gRPC connections and wait for their handlers;
//  3. wait for reads and writes in flight, a second at most;
//  4. close the client, which ends watches and lease keep-alives, and wait for
//     the watches, a second at most: one that reads on would find the database
//     closed under it;
//  5. stop the server, which commits and closes its files, and wait for it;
//  6. unlock the data directory and close Done.
//
// A member that failed gets two seconds for steps 2 to 5. If it is stuck, Close
// returns an error, its goroutines stay, and its database stays open, so that
// the directory is in use until the process ends. Any other gets 30 seconds. On a disk
// that hangs, Close then returns an error, the directory stays in use, and steps 5 and
// 6 finish when the disk answers.
func (m *Member) Close() error {
	m.closeOnce.Do(func() { m.closeErr = m.close() })
	return m.closeErr
}

func (m *Member) close() error {
	m.gate.close()
	m.gateway.refuse()
	close(m.closing)
	<-m.supervised

	stopped := make(chan error, 1)
	go func() {
		stopped <- m.contain.Run(func() error {
			m.stop()
			return nil
		})
	}()
	failed := m.contain.Failed()
	var timeout <-chan time.Time
	hung := time.NewTimer(closeTimeout)
	defer hung.Stop()
	for {
		select {
		case err := <-stopped:
			if err != nil {
				stopped = nil // a failure, so the timeout has been set or is about to be
				continue
			}
			m.contain.Release()
			m.release()
			m.finish(nil)
			return nil
		case <-hung.C:
			if timeout != nil || stopped == nil {
				continue
			}
			err := fmt.Errorf("etcd: close: %s is not closed after %s, and in use until it is: is its disk hung?", m.directory.Dir, closeTimeout)
			go func() {
				if err := <-stopped; err == nil {
					m.contain.Release()
					m.release()
				}
			}()
			m.finish(err)
			return err
		case <-failed:
			// A healthy member may take its time to write; this one may not.
			failed, timeout = nil, time.After(failedTimeout)
		case <-timeout:
			err := fmt.Errorf("etcd: close: the failed member is stuck and keeps %s in use until the process ends: %w", m.directory.Dir, m.contain.Err())
			if m.peers != nil {
				_ = m.peers.http.Close()
			}
			m.directory.Unlock()
			m.finish(err)
			return err
		}
	}
}

// stop is steps 2 to 5 of Close.
func (m *Member) stop() {
	m.leave()
	m.gateway.close()
	calls := m.gate.drained()
	waitDrained(calls)
	m.watches.close()
	_ = m.client.Close() // only ever says that its context is cancelled
	watches := m.watches.drained()
	waitDrained(watches)
	m.upkeep.running.Wait()
	m.etcd.Close()
	m.closePeers()
	<-calls // the server has stopped, so what was in flight has ended
	<-watches
}
