// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package diskguard refuses writes before the disk of a data directory is full. On a full
// disk etcd exits.
package diskguard

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/server/v3/storage/datadir"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"google.golang.org/protobuf/proto"

	"github.com/kubembed/kubembed/internal/diskspace"
	"github.com/kubembed/kubembed/internal/etcd/errdefs"
	"github.com/kubembed/kubembed/internal/fieldpath"
)

// etcd exits when it cannot persist an acknowledged write. So writes are refused while
// there is still room for the writes in flight: for the next segment of the write-ahead
// log, which etcd allocates when it begins the one before, for new pages of the database,
// and for a snapshot of raft.
//
// Requests that delete are accepted longer, because they free space.
const (
	spareBytes    = 48 << 20
	spareDeleting = 16 << 20
	// firstBytes is the size of the writes of a first start besides its log: objects,
	// keys, certificates.
	firstBytes = 8 << 20
	// firstDatabase is the size of its database, which bbolt grows in steps of that size.
	firstDatabase = 16 << 20
	// spareEphemeral lets etcd prepare a segment of its log whenever it accepts writes.
	// Without it etcd would fail when it needs that segment.
	spareEphemeral = 16 << 20
	// For how long, and for how many bytes of requests, a measured free space is valid.
	lookInterval = 100 * time.Millisecond
	lookBytes    = 4 << 20
)

// Guard watches the free space of the disk of a directory for the requests that need it.
type Guard struct {
	dir   string
	spare int64 // on top of spareBytes and spareDeleting
	// free returns the bytes that this user may still write, and false where they are
	// unknown.
	free func(dir string) (int64, bool)

	used atomic.Int64 // bytes of requests since the last measurement
	next atomic.Int64 // when to measure again, by steady

	mu      sync.Mutex
	left    atomic.Int64 // at the last measurement
	reserve *reserve     // nil for an ephemeral member
}

// New returns a Guard for a data directory.
func New(dir string, ephemeral bool) *Guard {
	s := &Guard{dir: dir, free: diskspace.Free, spare: spareEphemeral}
	if !ephemeral {
		// Without it the next start, or the one after, would fail.
		s.spare = wal.SegmentSizeBytes
		s.reserve = &reserve{}
	}
	return s
}

// Dir returns the directory.
func (s *Guard) Dir() string { return s.dir }

// Free returns the free bytes of the disk, and false where they are unknown.
func (s *Guard) Free() (int64, bool) { return s.free(s.dir) }

// SetFree replaces the free space of the file system in tests.
func (s *Guard) SetFree(bytes int64) {
	// A measurement in progress would hide the new value until the next one.
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free = func(string) (int64, bool) { return bytes, true }
	s.next.Store(0)
}

// Reserve allocates the disk space that the first writes need.
func (s *Guard) Reserve() { _ = s.look(lookBytes) }

var steadyFrom = time.Now()

// steady is a time in nanoseconds that continues when the clock is set back. By the time
// of day, the free space would not be measured again until the clock has caught up.
func steady() int64 { return int64(time.Since(steadyFrom)) }

// look returns the free bytes, as of a moment ago.
func (s *Guard) look(bytes int64) int64 {
	now := steady()
	if s.used.Add(bytes) < lookBytes && now < s.next.Load() {
		return s.left.Load()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used.Load() < lookBytes && now < s.next.Load() {
		return s.left.Load() // another call has measured
	}
	return s.refresh()
}

// refresh measures now. The caller holds mu.
func (s *Guard) refresh() int64 {
	if s.reserve != nil {
		s.reserve.extend(s.dir)
	}
	left, ok := s.Free()
	if !ok {
		left = math.MaxInt64
	}
	s.left.Store(left)
	s.used.Store(0)
	s.next.Store(steady() + int64(lookInterval))
	return left
}

// Need returns the bytes that must be free for writes to be accepted.
func (s *Guard) Need() int64 { return s.spare + spareBytes }

// NeedDeleting returns the bytes that must be free for requests that delete to be
// accepted.
func (s *Guard) NeedDeleting() int64 { return s.spare + spareDeleting }

// admit refuses a write of that many bytes if the disk is almost full.
func (s *Guard) admit(bytes int, deletes bool) error {
	need := s.Need()
	if deletes {
		need = s.NeedDeleting()
	}
	if s.look(int64(bytes)) < need {
		return rpctypes.ErrGRPCNoSpace
	}
	return nil
}

// Check returns ErrNoSpace, with the missing space and the remedy, while writes are
// refused.
func (s *Guard) Check() error {
	s.mu.Lock()
	free := s.refresh() // or the check would pass while writes are refused
	s.mu.Unlock()
	if need := s.Need(); free < need {
		return fmt.Errorf("%s: %w: %d bytes are free, %d are needed, and writes are refused until they are: delete other files on this disk, or enlarge it", s.dir, errdefs.ErrNoSpace, free, need)
	}
	return nil
}

// AdmitRequest is admit for a request of the gRPC API.
func (s *Guard) AdmitRequest(request any) error {
	switch r := request.(type) {
	case *pb.PutRequest:
		return s.admit(proto.Size(r), false)
	case *pb.TxnRequest:
		if puts, deletes := writes(r); puts || deletes {
			return s.admit(proto.Size(r), !puts)
		}
	case *pb.LeaseGrantRequest:
		return s.admit(proto.Size(r), false)
	case *pb.DeleteRangeRequest:
		return s.admit(proto.Size(r), true)
	case *pb.CompactionRequest:
		return s.admit(proto.Size(r), true)
	}
	return nil
}

// writes reports whether a transaction may put and delete.
func writes(r *pb.TxnRequest) (puts, deletes bool) {
	for _, ops := range [][]*pb.RequestOp{r.Success, r.Failure} {
		for _, op := range ops {
			switch op := op.Request.(type) {
			case *pb.RequestOp_RequestPut:
				puts = true
			case *pb.RequestOp_RequestDeleteRange:
				deletes = true
			case *pb.RequestOp_RequestTxn:
				p, d := writes(op.RequestTxn)
				puts, deletes = puts || p, deletes || d
			}
		}
	}
	return puts, deletes
}

// CheckStart returns ErrNoSpace if the disk has too little space for etcd to start. A
// first start also needs space for the initial objects of a control plane, so that it can
// restart.
func (s *Guard) CheckStart(fresh bool) error {
	free, ok := s.Free()
	if need := s.startNeeds(fresh) - leftovers(s.dir); ok && free < need {
		return fieldpath.New("etcd", "Config.Dir", "%s: %w: %d bytes are free, %d are needed to start: delete other files on this disk, or name a directory on another one", s.dir, errdefs.ErrNoSpace, free, need)
	}
	return nil
}

// startNeeds returns the bytes that must be free for a start. etcd allocates two segments
// of a new write-ahead log, or the next segment of an old one, before it writes to them.
//
// A first start must leave enough for writes. A later start need not: the space that a
// member on a full disk had when it stopped is enough to restart it. Otherwise no client
// could delete objects to free space. It refuses writes below Need, as before.
func (s *Guard) startNeeds(fresh bool) int64 {
	if fresh {
		need := s.Need() + 2*wal.SegmentSizeBytes + firstBytes
		if s.reserve != nil && canReserve {
			need += firstDatabase + reserveBytes - firstBytes/2
		}
		return need
	}
	need := spareBytes + wal.SegmentSizeBytes
	if s.reserve != nil {
		need += reserveMissing(s.dir)
	}
	return need
}

// restoredBytes is the most that the first start after a restore writes.
const restoredBytes = 4 << 20

// RestoreNeeds returns the bytes that must be free to make a data directory with a
// database of that size, besides the segments of its log: the space for the copy, or the
// space that the member needs to start and accept writes, whichever is more.
func RestoreNeeds(dir string, size int64) int64 {
	return max(size+spareBytes, New(dir, false).Need()+reserveBytes+restoredBytes)
}

// leftovers returns the size of the prepared segment of a killed member, which is used
// again.
func leftovers(dir string) (sum int64) {
	paths, _ := filepath.Glob(filepath.Join(datadir.ToWALDir(dir), "*.tmp"))
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil {
			sum += info.Size()
		}
	}
	return sum
}
