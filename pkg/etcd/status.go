package etcd

import (
	"context"
	"errors"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/api/v3/version"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"google.golang.org/protobuf/encoding/prototext"
)

// Status is how a member is at one moment.
type Status struct {
	// Version is that of the etcd that answers, like "3.6.16".
	Version string
	// MemberID is the member that answers, Leader that of its cluster, or zero while
	// there is none.
	MemberID, Leader uint64
	// Revision is that of the last write that it knows.
	Revision int64
	// SizeBytes is the size of the database file, and InUseBytes what of it holds
	// something. The rest is used for what is written next.
	SizeBytes, InUseBytes int64
	// QuotaBytes is the size at which writes are refused. Zero where it is not told.
	QuotaBytes int64
	// Alarms are those of the cluster, like "NOSPACE". If there are any, writes are
	// refused.
	Alarms []string
}

// Status tells how the member is, without asking others of its cluster.
func (m *Member) Status() Status {
	s := m.etcd.Server
	status := Status{
		Version:    version.Version,
		MemberID:   uint64(s.MemberID()),
		Leader:     uint64(s.Leader()),
		SizeBytes:  s.Backend().Size(),
		InUseBytes: s.Backend().SizeInUse(),
		QuotaBytes: s.Cfg.QuotaBackendBytes,
		Revision:   m.upkeep.revision(),
	}
	for _, alarm := range s.Alarms() {
		status.Alarms = append(status.Alarms, alarm.Alarm.String())
	}
	return status
}

// GetStatus asks one of the members that client is connected to.
func GetStatus(ctx context.Context, client *clientv3.Client) (Status, error) {
	conn := client.ActiveConnection()
	if conn == nil {
		return Status{}, errors.New("etcd: status: the client has no connection, as that of a member in this process: use Member.Status")
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

// alarmIn returns the alarm in one of the errors of a StatusResponse, which are the text forms
// of AlarmMembers, and other texts.
func alarmIn(text string) pb.AlarmType {
	var alarm pb.AlarmMember
	if err := (prototext.UnmarshalOptions{DiscardUnknown: true}).Unmarshal([]byte(text), &alarm); err != nil {
		return pb.AlarmType_NONE
	}
	return alarm.Alarm
}

const noSpace = pb.AlarmType_NOSPACE

// alarmed tells whether the alarm is on, of the member id or, if that is zero, of
// any member of the cluster.
func alarmed(s *etcdserver.EtcdServer, alarm pb.AlarmType, id uint64) bool {
	for _, a := range s.Alarms() {
		if a.Alarm == alarm && (id == 0 || a.MemberID == id) {
			return true
		}
	}
	return false
}
