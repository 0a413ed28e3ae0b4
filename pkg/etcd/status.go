// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"context"
	"errors"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/api/v3/version"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/encoding/prototext"
)

// Status is the status of a member.
type Status struct {
	// Version is the version of etcd, like "3.6.16".
	Version string
	// MemberID is the ID of the member, and Leader the ID of its leader, or zero while
	// there is none.
	MemberID, Leader uint64
	// Revision is the revision of the last write.
	Revision int64
	// SizeBytes is the size of the database file, and InUseBytes the part in use. The
	// rest is reused by later writes.
	SizeBytes, InUseBytes int64
	// QuotaBytes is the size at which writes are refused. Zero if unknown.
	QuotaBytes int64
	// Alarms are the alarms of the cluster, like "NOSPACE". While there are any, writes
	// are refused.
	Alarms []string
}

// Status returns the status of the member, without asking the other members.
func (m *Member) Status() Status {
	s := m.etcd.Server
	status := Status{
		Version:    version.Version,
		MemberID:   uint64(s.MemberID()),
		Leader:     uint64(s.Leader()),
		SizeBytes:  s.Backend().Size(),
		InUseBytes: s.Backend().SizeInUse(),
		QuotaBytes: s.Cfg.QuotaBackendBytes,
		Revision:   m.upkeep.Revision(),
	}
	for _, alarm := range s.Alarms() {
		status.Alarms = append(status.Alarms, alarm.Alarm.String())
	}
	return status
}

// GetStatus returns the status of one of the members that client is connected to.
func GetStatus(ctx context.Context, client *clientv3.Client) (Status, error) {
	conn := client.ActiveConnection()
	if conn == nil {
		return Status{}, errors.New("etcd: status: the client is the in-memory client of a member: use Member.Status")
	}
	r, err := pb.NewMaintenanceClient(conn).Status(ctx, &pb.StatusRequest{})
	if err != nil {
		return Status{}, fmt.Errorf("etcd: status: %w", rpctypes.Error(err))
	}
	status := Status{
		Version: r.Version, MemberID: r.Header.MemberId, Leader: r.Leader, Revision: r.Header.Revision,
		SizeBytes: r.DbSize, InUseBytes: r.DbSizeInUse, QuotaBytes: r.DbSizeQuota,
	}
	for _, text := range r.Errors {
		if alarm := alarmIn(text); alarm != pb.AlarmType_NONE {
			status.Alarms = append(status.Alarms, alarm.String())
		}
	}
	return status, nil
}

// alarmIn returns the alarm in one of the errors of a StatusResponse, which are the text
// forms of AlarmMembers, or other texts.
func alarmIn(text string) pb.AlarmType {
	var alarm pb.AlarmMember
	if err := (prototext.UnmarshalOptions{DiscardUnknown: true}).Unmarshal([]byte(text), &alarm); err != nil {
		return pb.AlarmType_NONE
	}
	return alarm.Alarm
}

// Usage returns the bytes of the member's database that are in use, without deleted and
// compacted data, and Config.QuotaBytes. It takes nanoseconds, and may be called at any
// time.
func (m *Member) Usage() (inUse, quota int64) {
	s := m.etcd.Server
	return s.Backend().SizeInUse(), s.Cfg.QuotaBackendBytes
}

// SpaceNeeded returns the bytes that must be free on the disk of Config.Dir for the
// member to accept writes. Other programs that write there should leave them free.
func (m *Member) SpaceNeeded() int64 { return m.upkeep.Disk().Need() }

// CheckSpace returns nil if there is space for writes. Otherwise the error names the
// limit, the disk (ErrNoSpace) or the quota, and the remedy. The member recovers from
// both by itself.
func (m *Member) CheckSpace() error { return m.upkeep.CheckSpace() }
