// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package etcdstream_test

import (
	"context"
	"errors"
	"io"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/kubembed/kubembed/internal/etcdstream"
)

// server answers RangeStream with chunks, and then with err. Without err the stream stays
// open until its context ends.
type server struct {
	pb.KVClient
	chunks int
	err    error
	// ended, if not nil, is closed when the stream of a caller has ended.
	ended chan struct{}
}

func (s *server) RangeStream(ctx context.Context, _ *pb.RangeRequest, _ ...grpc.CallOption) (pb.KV_RangeStreamClient, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return &stream{ctx: ctx, server: s}, nil
}

type stream struct {
	grpc.ClientStream
	ctx    context.Context
	server *server
	sent   int
}

func (s *stream) Recv() (*pb.RangeStreamResponse, error) {
	if s.sent++; s.sent <= s.server.chunks {
		return &pb.RangeStreamResponse{RangeResponse: &pb.RangeResponse{Count: int64(s.sent)}}, nil
	}
	if s.server.err != nil {
		return nil, s.server.err
	}
	<-s.ctx.Done()
	if s.server.ended != nil {
		close(s.server.ended)
	}
	return nil, s.ctx.Err()
}

// open returns a stream of s.
func open(ctx, ended context.Context, t *testing.T, s *server) clientv3.GetStreamChan {
	t.Helper()
	in, err := etcdstream.KV(ended, clientv3.NewKVFromKVClient(s, nil)).GetStream(ctx, "k")
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// read returns the number of chunks of a stream, and its error.
func read(in clientv3.GetStreamChan) (chunks int, err error) {
	for response := range in {
		if err != nil {
			return chunks, errors.New("a response follows an error")
		}
		if err = response.Err(); err == nil {
			chunks++
		}
	}
	return chunks, err
}

func TestRead(t *testing.T) {
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		server server
		want   error
	}{
		"complete": {server{chunks: 5, err: io.EOF}, nil},
		"empty":    {server{err: io.EOF}, nil},
		"fails":    {server{err: broken}, broken},
	} {
		t.Run(name, func(t *testing.T) {
			if chunks, err := read(open(t.Context(), t.Context(), t, &c.server)); chunks != c.server.chunks || !errors.Is(err, c.want) {
				t.Errorf("%d chunks, %v, want %d and %v", chunks, err, c.server.chunks, c.want)
			}
		})
	}
}

// TestInterrupted: a stream that ends early has an error, even if a chunk waits for the
// reader, and the stream of the server ends without a reader.
func TestInterrupted(t *testing.T) {
	closed := errors.New("closed")
	for name, c := range map[string]struct {
		interrupt func(caller context.CancelFunc, ended context.CancelCauseFunc)
		want      error
	}{
		"by the caller": {func(caller context.CancelFunc, _ context.CancelCauseFunc) { caller() }, context.Canceled},
		"by the end":    {func(_ context.CancelFunc, ended context.CancelCauseFunc) { ended(closed) }, closed},
	} {
		for _, chunks := range []int{0, 1, 10} {
			t.Run(name, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				ended, end := context.WithCancelCause(t.Context())
				defer end(nil)
				s := &server{chunks: chunks, ended: make(chan struct{})}
				in := open(ctx, ended, t, s)
				c.interrupt(cancel, end)
				<-s.ended // without a read
				if _, err := read(in); !errors.Is(err, c.want) {
					t.Errorf("of %d chunks: got %v, want %v", chunks, err, c.want)
				}
			})
		}
	}
}

// TestEnded: a stream that is opened too late fails with the cause.
func TestEnded(t *testing.T) {
	closed := errors.New("closed")
	ended, end := context.WithCancelCause(t.Context())
	end(closed)
	in, err := etcdstream.KV(ended, clientv3.NewKVFromKVClient(&server{}, nil)).GetStream(t.Context(), "k")
	if err == nil {
		_, err = read(in)
	}
	if !errors.Is(err, closed) {
		t.Errorf("got %v, want %v", err, closed)
	}
}

// TestRelay: the reader gets the error that done returns.
func TestRelay(t *testing.T) {
	broken, reported := errors.New("broken"), errors.New("reported")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	in, err := clientv3.NewKVFromKVClient(&server{chunks: 0, err: broken}, nil).GetStream(ctx, "k")
	if err != nil {
		t.Fatal(err)
	}
	var got error
	out := etcdstream.Relay(ctx, in, func(err error) error {
		cancel()
		got = err
		return reported
	})
	if _, err := read(out); !errors.Is(err, reported) {
		t.Errorf("read %v, want %v", err, reported)
	}
	if !errors.Is(got, broken) {
		t.Errorf("done got %v, want %v", got, broken)
	}
}
