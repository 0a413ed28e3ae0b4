package etcd

import (
	"context"
	"io"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
)

// RangeStream serves a list in chunks, with which the API server fills its watch
// caches. Upstream's adapter for in-process clients refuses it, and the API server
// would remember the refusal for every etcd of the process.
func (g *guardedKV) RangeStream(ctx context.Context, in *pb.RangeRequest, _ ...grpc.CallOption) (pb.KV_RangeStreamClient, error) {
	if !g.gate.enter() {
		return nil, rpctypes.ErrGRPCStopped
	}
	stream := &rangeStream{ctx: ctx, chunks: make(chan *pb.RangeStreamResponse)}
	go func() {
		defer g.gate.leave()
		defer close(stream.chunks)
		stream.err = g.contain.run(func() error { return g.server.RangeStream(in, stream) })
	}()
	return stream, nil
}

// rangeStream is both ends of a stream. The server is at most one chunk ahead of
// the client; it stops when the client's context ends.
type rangeStream struct {
	unusedStream
	ctx    context.Context
	chunks chan *pb.RangeStreamResponse
	err    error // set before chunks is closed
}

// unusedStream has the methods of a stream that nothing calls here: headers,
// trailers and messages without a type.
type unusedStream interface {
	grpc.ServerStream
	grpc.ClientStream
}

var (
	_ pb.KV_RangeStreamClient = (*rangeStream)(nil)
	_ pb.KV_RangeStreamServer = (*rangeStream)(nil)
)

func (s *rangeStream) Context() context.Context { return s.ctx }

func (s *rangeStream) Send(chunk *pb.RangeStreamResponse) error {
	select {
	case s.chunks <- chunk:
		return nil
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

func (s *rangeStream) Recv() (*pb.RangeStreamResponse, error) {
	chunk, ok := <-s.chunks
	switch {
	case ok:
		return chunk, nil
	case s.err != nil:
		return nil, s.err
	default:
		return nil, io.EOF
	}
}
