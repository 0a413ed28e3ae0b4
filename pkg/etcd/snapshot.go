// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/kubembed/kubembed/internal/etcd/snapshotio"
)

// Snapshot reads a consistent copy of a member's database in the format of "etcdctl
// snapshot save": the database file, then its SHA-256. It reads like a file and ends with
// io.EOF when it is complete; after any other error it is incomplete. It must be closed,
// and is for one goroutine.
type Snapshot struct {
	size   int64
	reader io.Reader
	close  func()
}

// Size returns the total number of bytes.
func (s *Snapshot) Size() int64 { return s.size }

// Read implements io.Reader.
func (s *Snapshot) Read(p []byte) (int, error) { return s.reader.Read(p) }

// Close ends the snapshot. It may be called before the end, and again.
func (s *Snapshot) Close() error {
	s.close()
	return nil
}

// OpenSnapshot begins a snapshot of the database, with all acknowledged writes: a member
// of a cluster that lags behind catches up first. If the cluster has no leader, the
// snapshot has the data of this member. Until it is read or closed, the pages that it
// holds are not reused, so that the file grows by the writes meanwhile, and the member is
// not defragmented. It ends early when ctx ends, and with ErrClosed when the member is
// closed or fails: neither waits for the reader.
func (m *Member) OpenSnapshot(ctx context.Context) (*Snapshot, error) {
	if ctx.Err() != nil {
		return nil, snapshotio.Error(context.Cause(ctx))
	}
	if err := m.catchUp(ctx); err != nil {
		return nil, snapshotio.Error(err)
	}
	end, ok := m.calls.Begin()
	if !ok {
		return nil, snapshotio.Error(ErrClosed)
	}
	endSnapshot := m.upkeep.BeginSnapshot()
	// In a goroutine of its own, so that a reader that stops does not hold the database
	// open, which Close waits for.
	out, in := io.Pipe()
	size, ended := make(chan int64, 1), make(chan struct{})
	go func() {
		defer close(ended)
		defer end()
		defer endSnapshot()
		_ = in.CloseWithError(m.contain.Run(func() error {
			snapshot := m.etcd.Server.Backend().Snapshot()
			defer func() { _ = snapshot.Close() }() // ends a read transaction
			size <- snapshot.Size()
			_, err := snapshot.WriteTo(in)
			return err
		}))
	}()
	go func() {
		var cause error
		select {
		case <-ended:
			return
		case <-ctx.Done():
			cause = context.Cause(ctx)
		case <-m.closing:
			cause = ErrClosed
		case <-m.done:
			cause = ErrClosed
		}
		_ = in.CloseWithError(snapshotio.Error(cause))
	}()
	select {
	case n := <-size:
		return &Snapshot{size: n + sha256.Size, reader: snapshotio.ContextReader(ctx, snapshotio.NewReader(out, n, nil)), close: func() {
			_ = out.CloseWithError(snapshotio.Error(ErrClosed))
			<-ended
		}}, nil
	case <-ended:
		_, err := out.Read(make([]byte, 1))
		return nil, snapshotio.Error(err)
	}
}

// catchUp returns when the member has all writes that its cluster acknowledged before the
// call.
func (m *Member) catchUp(ctx context.Context) error {
	if m.network == nil {
		return nil // standalone
	}
	err := m.upkeep.Call(ctx, func(ctx context.Context) error {
		// A linearizable read of this member.
		_, err := m.etcd.Server.Range(ctx, &pb.RangeRequest{Key: []byte{0}})
		return err
	})
	if err != nil && ctx.Err() == nil && m.etcd.Server.Leader() == 0 {
		return nil // the majority is lost: this data is all there is
	}
	return err
}

// Snapshot writes a snapshot of the member to w, as OpenSnapshot describes it, and
// returns how many bytes it wrote.
func (m *Member) Snapshot(ctx context.Context, w io.Writer) (int64, error) {
	snapshot, err := m.OpenSnapshot(ctx)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(w, snapshot)
	return n, errors.Join(err, snapshot.Close())
}

// OpenSnapshot begins a snapshot of one of the members that client is connected to, as
// "etcdctl snapshot save" does. The member may lag behind others. The snapshot ends early
// when ctx ends.
func OpenSnapshot(ctx context.Context, client *clientv3.Client) (*Snapshot, error) {
	conn := client.ActiveConnection()
	if conn == nil {
		return nil, snapshotio.Error(errors.New("the client is the in-memory client of a member: use Member.OpenSnapshot"))
	}
	ctx, cancel := context.WithCancel(ctx)
	stream, err := pb.NewMaintenanceClient(conn).Snapshot(ctx, &pb.SnapshotRequest{})
	var first *pb.SnapshotResponse
	if err == nil {
		first, err = stream.Recv()
	}
	if err != nil {
		cancel()
		return nil, snapshotio.Error(rpctypes.Error(err))
	}
	// The server counts the bytes of the database, without the checksum after them.
	n := int64(len(first.Blob)) + int64(first.RemainingBytes)
	blobs := &blobReader{stream: stream, blob: first.Blob}
	return &Snapshot{size: n + sha256.Size, reader: snapshotio.NewReader(blobs, n, blobs), close: cancel}, nil
}

// blobReader reads the database that a server sends.
type blobReader struct {
	stream pb.Maintenance_SnapshotClient
	blob   []byte
}

func (r *blobReader) Read(p []byte) (int, error) {
	for len(r.blob) == 0 {
		response, err := r.stream.Recv()
		if errors.Is(err, io.EOF) {
			return 0, io.EOF
		}
		if err != nil {
			return 0, snapshotio.Error(rpctypes.Error(err))
		}
		r.blob = response.Blob
	}
	n := copy(p, r.blob)
	r.blob = r.blob[n:]
	return n, nil
}
