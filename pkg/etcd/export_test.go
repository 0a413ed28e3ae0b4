package etcd

import (
	"bytes"
	"context"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/features"
	"go.etcd.io/etcd/server/v3/storage/schema"
	"go.uber.org/zap"

	"github.com/kubembed/kubembed/internal/etcd/consistency"
	"github.com/kubembed/kubembed/internal/etcd/limits"
	"github.com/kubembed/kubembed/internal/etcd/memberwatch"
	"github.com/kubembed/kubembed/internal/etcd/peers"
	"github.com/kubembed/kubembed/internal/etcd/upkeep"
	"github.com/kubembed/kubembed/internal/etcd/walcheck"
)

// ContainedLogger is the logger that etcd uses.
func (m *Member) ContainedLogger() *zap.Logger { return m.etcd.GetLogger() }

// SetFree is another answer of the file system, which is looked at at once.
func (m *Member) SetFree(bytes int64) {
	m.upkeep.Disk().SetFree(bytes)
}

// CheckTail checks the end of a log.
var CheckTail = walcheck.CheckEnd

// Connections is how many connections the client of a member has to an address.
func Connections(m *Member, addr string) int {
	d := m.network.Dialer()
	return len(d.Connections(addr))
}

// Turns are those of a member that wants to defragment from now on.
type Turns struct{ upkeep *upkeep.Upkeep }

func NewTurns(m *Member) Turns { return Turns{upkeep.New(m.etcd.Server, nil, nil, nil, nil)} }

// Until is how long it is at now until the next.
func (t Turns) Until(now time.Time) time.Duration { return t.upkeep.UntilTurn(now) }

// SetCloseTimeout is for members that are closed from now on.
func SetCloseTimeout(d time.Duration) (restore func()) {
	was := closeTimeout
	closeTimeout = d
	return func() { closeTimeout = was }
}

// SetDrainTimeout is for members that are closed from now on.
func SetDrainTimeout(d time.Duration) (restore func()) {
	was := drainTimeout
	drainTimeout = d
	return func() { drainTimeout = was }
}

// CheckCompactHashes does now what the leader does once a minute, and reports whether it
// does so at all.
func (m *Member) CheckCompactHashes() bool {
	m.etcd.Server.CorruptionChecker().CompactHashCheck()
	return m.etcd.Server.FeatureEnabled(features.CompactHashCheck)
}

// Leads reports whether the member is the leader.
func (m *Member) Leads() bool { return m.etcd.Server.Leader() == m.etcd.Server.MemberID() }

// AlarmAboutNobody reports whether members differ, and nobody knows who is wrong.
func (m *Member) AlarmAboutNobody() bool {
	for _, a := range m.etcd.Server.Alarms() {
		if a.Alarm == pb.AlarmType_CORRUPT && a.MemberID == 0 {
			return true
		}
	}
	return false
}

// RaiseAlarmAboutNobody does what the leader does that cannot tell who is wrong.
func (m *Member) RaiseAlarmAboutNobody(ctx context.Context) error {
	return (&consistency.Checker{Server: m.etcd.Server, Upkeep: m.upkeep}).RaiseAlarm(ctx, 0)
}

// HashKV is what the member answers others.
func (m *Member) HashKV(revision int64) (*pb.HashKVResponse, error) {
	hash, now, err := m.etcd.Server.KV().HashStorage().HashByRev(revision)
	return &pb.HashKVResponse{
		Header: &pb.ResponseHeader{Revision: now}, Hash: hash.Hash, CompactRevision: hash.CompactRevision, HashRevision: hash.Revision,
	}, err
}

// Overwrite changes bytes of a value in the database of this member alone.
func (m *Member) Overwrite(before, after string) (changed int) {
	b := m.etcd.Server.Backend()
	tx := b.BatchTx()
	tx.LockOutsideApply()
	keys, values := tx.UnsafeRange(schema.Key, make([]byte, 17), bytes.Repeat([]byte{0xff}, 17), 0)
	for i, value := range values {
		if bytes.Contains(value, []byte(before)) {
			tx.UnsafePut(schema.Key, bytes.Clone(keys[i]), bytes.Replace(bytes.Clone(value), []byte(before), []byte(after), 1))
			changed++
		}
	}
	tx.Unlock()
	b.ForceCommit()
	return changed
}

// PeerTransports is how many transports to other members were found.
func (m *Member) PeerTransports() (int, error) {
	_, all, err := peers.Transports(m.etcd.Server)
	return len(all), err
}

// SetAgreeTimeout is for a test that nothing runs beside.
func SetAgreeTimeout(t *testing.T, timeout time.Duration) {
	before := consistency.StartTimeout
	consistency.StartTimeout = timeout
	t.Cleanup(func() { consistency.StartTimeout = before })
}

// MappedBytes is how much address space a start looks for.
func MappedBytes(quota int64) int64 {
	if quota == 0 {
		quota = DefaultQuotaBytes
	}
	return limits.MappedBytes(quota, 0)
}

// SetMemberWatch is for members that are started from now on.
func SetMemberWatch(t *testing.T, interval, grace time.Duration) {
	intervalBefore, graceBefore := memberwatch.Interval, memberwatch.Grace
	memberwatch.Interval, memberwatch.Grace = interval, grace
	t.Cleanup(func() { memberwatch.Interval, memberwatch.Grace = intervalBefore, graceBefore })
}

// Versions returns the cluster version and the storage version, of etcd's database.
func (m *Member) Versions() (cluster, storage string) {
	if v := m.etcd.Server.ClusterVersion(); v != nil {
		cluster = v.String()
	}
	if v := m.etcd.Server.StorageVersion(); v != nil {
		storage = v.String()
	}
	return cluster, storage
}

// ProposeClusterVersion writes it to the log, as the leader of a newer cluster does.
// Applying it fails this member.
func (m *Member) ProposeClusterVersion(v string) {
	etcdserver.NewServerVersionAdapter(m.etcd.Server).UpdateClusterVersion(v)
}
