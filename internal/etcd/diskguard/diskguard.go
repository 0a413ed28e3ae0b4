// Package diskguard refuses writes before the disk of a data directory is full, at which
// etcd would exit.
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

// etcd ends itself when its disk is full: a write that it has promised to make
// cannot be made. So writes are refused before that, while there is room for what
// follows from those that are under way: the next segment of the write-ahead log,
// which etcd fills the disk with when it begins the one before, new pages of the
// database, and a snapshot of raft's.
//
// What deletes is let through longer, for that is how room is made.
const (
	spareBytes    = 48 << 20
	spareDeleting = 16 << 20
	// firstBytes is what a first start writes besides its log: objects, keys, certificates.
	firstBytes = 8 << 20
	// firstDatabase is the size of its database: bbolt grows it by so much at a time.
	firstDatabase = 16 << 20
	// spareEphemeral lets etcd prepare a segment of its log at any time that it accepts
	// writes. Without it etcd would fail when it needs that segment.
	spareEphemeral = 16 << 20
	// How long, and for how many bytes of requests, an answer about the room holds.
	lookInterval = 100 * time.Millisecond
	lookBytes    = 4 << 20
)

// Guard watches the room on the disk of a directory, for the calls that need it.
type Guard struct {
	dir   string
	spare int64 // on top of spareBytes and spareDeleting
	// free tells the bytes that this user may still write, and false where that
	// cannot be told.
	free func(dir string) (int64, bool)

	used atomic.Int64 // bytes of requests since the last look
	next atomic.Int64 // when to look again, by steady

	mu      sync.Mutex
	left    atomic.Int64 // at the last look
	reserve *reserve     // nil where nothing has to last
}

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

// Free returns how many bytes the disk has free, and false where that is unknown.
func (s *Guard) Free() (int64, bool) { return s.free(s.dir) }

// SetFree replaces the answer of the file system. It is for tests.
func (s *Guard) SetFree(bytes int64) {
	s.free = func(string) (int64, bool) { return bytes, true }
	s.next.Store(0)
}

// Reserve takes the room on the disk that the first writes need.
func (s *Guard) Reserve() { _ = s.look(lookBytes) }

var steadyFrom = time.Now()

// steady is a time in nanoseconds that goes on when the clock is set back. By the time
// of day the disk would then be looked at no more until that has come again.
func steady() int64 { return int64(time.Since(steadyFrom)) }

// look returns the bytes that are left, as of a moment ago.
func (s *Guard) look(bytes int64) int64 {
	now := steady()
	if s.used.Add(bytes) < lookBytes && now < s.next.Load() {
		return s.left.Load()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used.Load() < lookBytes && now < s.next.Load() {
		return s.left.Load() // another call has looked
	}
	return s.refresh()
}

// refresh looks now. The caller holds mu.
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

// need is how many bytes must be free for writes to be accepted.
func (s *Guard) Need() int64 { return s.spare + spareBytes }

// NeedDeleting is how many bytes must be free for requests that delete to be accepted.
func (s *Guard) NeedDeleting() int64 { return s.spare + spareDeleting }

// admit refuses a write of that many bytes if the disk is about to be full.
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

// check says what is missing, and what to do.
func (s *Guard) Check() error {
	s.mu.Lock()
	free := s.refresh() // or it would be green while writes are refused
	s.mu.Unlock()
	if need := s.Need(); free < need {
		return fmt.Errorf("%s: %w: %d bytes are free, %d are needed, and writes are refused until then: delete other files on this disk, or enlarge it", s.dir, errdefs.ErrNoSpace, free, need)
	}
	return nil
}

// admitRequest is admit for a request of the gRPC API.
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

// writes tells what a transaction may do.
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

// start returns errdefs.ErrNoSpace if the disk has too little room for etcd to start, and, the first
// time, for what a control plane begins with, so that it can be started again.
func (s *Guard) CheckStart(fresh bool) error {
	free, ok := s.Free()
	if need := s.startNeeds(fresh) - leftovers(s.dir); ok && free < need {
		return fieldpath.New("etcd", "Config.Dir", "%s: %w: %d bytes are free, %d are needed to start: delete other files on this disk, or name a directory on another one", s.dir, errdefs.ErrNoSpace, free, need)
	}
	return nil
}

// startNeeds is how many bytes must be free for a start. etcd fills the disk with two
// segments of a new write-ahead log, or the next one of an old one, before anything is
// written to them.
//
// A first start must leave enough for writes. A later one need not: all that a member with
// a full disk had when it was stopped is enough to start it again, or nobody could
// delete objects to make room. It refuses writes below need(), as before.
func (s *Guard) startNeeds(fresh bool) int64 {
	if fresh {
		need := s.Need() + 2*wal.SegmentSizeBytes + firstBytes
		if s.reserve != nil && canReserve {
			need += firstDatabase + reserveBytes - firstBytes/2
		}
		return need
	}
	need := int64(spareBytes + wal.SegmentSizeBytes)
	if s.reserve != nil {
		need += reserveMissing(s.dir)
	}
	return need
}

// restoredBytes is what the first start after a restore writes, at most.
const restoredBytes = 4 << 20

// RestoreNeeds is how many bytes must be free to make a data directory with a database of
// that size, beside the segments of its log: room for the copy, or what the member needs to
// start and accept writes, whichever is more.
func RestoreNeeds(dir string, size int64) int64 {
	return max(size+spareBytes, New(dir, false).Need()+reserveBytes+restoredBytes)
}

// leftovers is the size of the next segment of a member that was killed, which is used
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
