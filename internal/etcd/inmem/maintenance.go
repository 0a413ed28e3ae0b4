// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package inmem

import (
	"context"
	"errors"
	"io"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3rpc"
	"go.etcd.io/etcd/server/v3/proxy/grpcproxy/adapter"
	"google.golang.org/grpc"

	"github.com/kubembed/kubembed/internal/etcd/diskguard"
)

// guardedMaintenance replaces the calls that would panic or block Close in upstream's
// in-process client.
type guardedMaintenance struct {
	pb.MaintenanceClient
	member Member
}

// replaceRest replaces upstream's maintenance and lease clients.
func replaceRest(client *clientv3.Client, m Member) {
	upstream := adapter.MaintenanceServerToMaintenanceClient(v3rpc.NewMaintenanceServer(m.Server, nil))
	client.Maintenance = clientv3.NewMaintenanceFromMaintenanceClient(&guardedMaintenance{upstream, m}, client)
	leases := adapter.LeaseServerToLeaseClient(v3rpc.NewQuotaLeaseServer(m.Server))
	_ = client.Lease.Close() // upstream's, which is unused
	client.Lease = clientv3.NewLeaseFromLeaseClient(&guardedLease{leases, m.Upkeep.Disk()}, client, time.Second)
}

// guardedLease refuses leases that the disk has no space for.
type guardedLease struct {
	pb.LeaseClient
	disk *diskguard.Guard
}

func (g *guardedLease) LeaseGrant(ctx context.Context, in *pb.LeaseGrantRequest, opts ...grpc.CallOption) (*pb.LeaseGrantResponse, error) {
	if err := g.disk.AdmitRequest(in); err != nil {
		return nil, err
	}
	return g.LeaseClient.LeaseGrant(ctx, in, opts...)
}

func (g *guardedMaintenance) Defragment(context.Context, *pb.DefragmentRequest, ...grpc.CallOption) (*pb.DefragmentResponse, error) {
	return &pb.DefragmentResponse{}, g.member.Upkeep.Defragment()
}

func (g *guardedMaintenance) Snapshot(ctx context.Context, _ *pb.SnapshotRequest, _ ...grpc.CallOption) (pb.Maintenance_SnapshotClient, error) {
	s, err := g.member.OpenSnapshot(ctx)
	if err != nil {
		return nil, err
	}
	return &snapshotStream{snapshot: s, ctx: ctx, left: s.Size()}, nil
}

// snapshotStream is a Snapshot in the form of a stream. It ends with the snapshot, or
// with its context.
type snapshotStream struct {
	grpc.ClientStream
	snapshot Snapshot
	ctx      context.Context
	left     int64
}

func (s *snapshotStream) Context() context.Context { return s.ctx }

func (s *snapshotStream) Recv() (*pb.SnapshotResponse, error) {
	blob := make([]byte, 32<<10)
	n, err := io.ReadFull(s.snapshot, blob)
	if n == 0 && err != nil {
		_ = s.snapshot.Close()
		return nil, err
	}
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		_ = s.snapshot.Close()
		return nil, err
	}
	s.left -= int64(n)
	return &pb.SnapshotResponse{RemainingBytes: uint64(s.left), Blob: blob[:n]}, nil
}
