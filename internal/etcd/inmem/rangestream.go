// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package inmem

import (
	"context"
	"errors"
	"io"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/kubembed/kubembed/internal/etcd/calls"
)

// RangeStream serves a list in chunks. The API server fills its watch caches with it.
// Upstream's adapter for in-process clients refuses it, and the API server would remember
// the refusal for every etcd of the process.
//
// Close ends the streams: it does not wait for their readers.
func (g *guardedKV) RangeStream(ctx context.Context, in *pb.RangeRequest, _ ...grpc.CallOption) (pb.KV_RangeStreamClient, error) {
	end, ok := g.calls.Begin()
	if !ok {
		return nil, rpctypes.ErrGRPCStopped
	}
	in = proto.CloneOf(in) // the server changes it
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(g.calls.Ended(), cancel)
	stream := &rangeStream{ctx: ctx, calls: g.calls, chunks: make(chan *pb.RangeStreamResponse)}
	go func() {
		defer end()
		defer cancel()
		defer stop()
		defer close(stream.chunks)
		stream.err = g.contain.Run(func() error { return g.server.RangeStream(in, stream) })
	}()
	return stream, nil
}

// rangeStream is both ends of a stream. The server is at most one chunk ahead of
// the client; it stops when the client's context ends.
type rangeStream struct {
	unusedStream
	ctx    context.Context
	calls  *calls.Group
	chunks chan *pb.RangeStreamResponse
	err    error // set before chunks is closed
}

// unusedStream has the methods of a stream that are not called here: headers, trailers
// and untyped messages.
type unusedStream interface {
	grpc.ServerStream
	grpc.ClientStream
}

var (
	_ pb.KV_RangeStreamClient = (*rangeStream)(nil)
	_ pb.KV_RangeStreamServer = (*rangeStream)(nil)
)

func (s *rangeStream) Context() context.Context { return s.ctx }

// Send sends a copy: readers empty the list of objects while they decode them, and the
// server reads the size of the sent message.
func (s *rangeStream) Send(chunk *pb.RangeStreamResponse) error {
	sent := chunk.GetRangeResponse()
	chunk = &pb.RangeStreamResponse{RangeResponse: &pb.RangeResponse{
		Header: sent.GetHeader(), Kvs: slices.Clone(sent.GetKvs()), More: sent.GetMore(), Count: sent.GetCount(),
	}}
	select {
	case s.chunks <- chunk:
		return nil
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

func (s *rangeStream) Recv() (*pb.RangeStreamResponse, error) {
	select {
	case chunk, ok := <-s.chunks:
		return s.received(chunk, ok)
	case <-s.ctx.Done():
	}
	select {
	case chunk, ok := <-s.chunks: // a complete stream ends its context too
		return s.received(chunk, ok)
	default:
		return nil, s.ended(s.ctx.Err()) // even if the server hangs
	}
}

func (s *rangeStream) received(chunk *pb.RangeStreamResponse, ok bool) (*pb.RangeStreamResponse, error) {
	switch {
	case ok:
		return chunk, nil
	case s.err != nil:
		return nil, s.ended(s.err)
	default:
		return nil, io.EOF
	}
}

// ended returns the error of a stream as a gRPC client returns it.
func (s *rangeStream) ended(err error) error {
	if !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if s.calls.Ended().Err() != nil {
		return rpctypes.ErrGRPCStopped
	}
	return status.FromContextError(err).Err()
}
