// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

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
)

// ContainedLogger is the logger that etcd uses.
func (m *Member) ContainedLogger() *zap.Logger { return m.etcd.GetLogger() }

// SetFree replaces the free space of the disk at once.
func (m *Member) SetFree(bytes int64) {
	m.upkeep.Disk().SetFree(bytes)
}

// Connections returns the number of connections that the client of a member has to an
// address.
func Connections(m *Member, addr string) int {
	return m.network.Dialer().Connections(addr)
}

// Turns are the turns of a member that wants to defragment from now on.
type Turns struct{ upkeep *upkeep.Upkeep }

func NewTurns(m *Member) Turns { return Turns{upkeep.New(m.etcd.Server, nil, nil, nil, nil)} }

// Until returns the time from now until the next turn.
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

// CheckCompactHashes makes the leader's check, which runs once a minute, now, and reports
// whether the leader makes it.
func (m *Member) CheckCompactHashes() bool {
	m.etcd.Server.CorruptionChecker().CompactHashCheck()
	return m.etcd.Server.FeatureEnabled(features.CompactHashCheck)
}

// Leads reports whether the member is the leader.
func (m *Member) Leads() bool { return m.etcd.Server.Leader() == m.etcd.Server.MemberID() }

// AlarmAboutMemberZero reports whether members differ without a majority.
func (m *Member) AlarmAboutMemberZero() bool {
	for _, a := range m.etcd.Server.Alarms() {
		if a.Alarm == pb.AlarmType_CORRUPT && a.MemberID == 0 {
			return true
		}
	}
	return false
}

// RaiseAlarmAboutMemberZero raises the alarm of a leader that finds no majority.
func (m *Member) RaiseAlarmAboutMemberZero(ctx context.Context) error {
	return (&consistency.Checker{Server: m.etcd.Server, Upkeep: m.upkeep}).RaiseAlarm(ctx, 0)
}

// HashKV returns the member's answer to requests for its hash.
func (m *Member) HashKV(revision int64) (*pb.HashKVResponse, error) {
	hash, now, err := m.etcd.Server.KV().HashStorage().HashByRev(revision)
	return &pb.HashKVResponse{
		Header: &pb.ResponseHeader{Revision: now}, Hash: hash.Hash, CompactRevision: hash.CompactRevision, HashRevision: hash.Revision,
	}, err
}

// Overwrite changes bytes of a value in the database of this member only.
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

// PeerTransports returns the number of transports to other members.
func (m *Member) PeerTransports() (int, error) {
	_, all, err := peers.Transports(m.etcd.Server)
	return len(all), err
}

// SetAgreeTimeout is for tests that do not run in parallel.
func SetAgreeTimeout(t *testing.T, timeout time.Duration) {
	before := consistency.StartTimeout
	consistency.StartTimeout = timeout
	t.Cleanup(func() { consistency.StartTimeout = before })
}

// MappedBytes returns the address space that a start requires.
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

// ProposeClusterVersion writes a version to the log, as the leader of a newer cluster
// does. Applying it fails this member.
func (m *Member) ProposeClusterVersion(v string) {
	etcdserver.NewServerVersionAdapter(m.etcd.Server).UpdateClusterVersion(v)
}
