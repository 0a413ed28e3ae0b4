// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package etcdstream ends streams of etcd clients (KV.GetStream) that are not read to
// their end.
//
// The etcd client has one goroutine for each stream, which waits forever for a reader.
// The API server stops reading at an object that it cannot decode. The goroutine and the
// chunks that it holds would stay until the process ends; so would the server's side of
// the stream, with an etcd in the same process.
package etcdstream

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
)

// KV returns kv with streams that end with the context of their caller, or with ended,
// even if they are not read. Streams that end with ended have its cause as their error.
func KV(ended context.Context, kv clientv3.KV) clientv3.KV { return bounded{kv, ended} }

type bounded struct {
	clientv3.KV
	ended context.Context
}

func (b bounded) GetStream(ctx context.Context, key string, opts ...clientv3.OpOption) (clientv3.GetStreamChan, error) {
	bound, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(b.ended, cancel)
	done := func(err error) error {
		stop()
		cancel()
		if err != nil && ctx.Err() == nil && b.ended.Err() != nil {
			return context.Cause(b.ended)
		}
		return err
	}
	in, err := b.KV.GetStream(bound, key, opts...)
	if err != nil {
		return nil, done(err)
	}
	return Relay(bound, in, done), nil
}

// Relay returns a stream with the chunks of in, which is the stream of a call with ctx.
// When in or ctx ends, Relay calls done with the error, or nil, and ends its stream with
// the error that done returns. done must cancel ctx.
//
// A reader never takes an interrupted stream for a complete one: it gets an error, in
// place of a chunk that it has not fetched yet.
func Relay(ctx context.Context, in clientv3.GetStreamChan, done func(error) error) clientv3.GetStreamChan {
	out := make(chan clientv3.RangeStreamResponse, 1)
	go func() {
		if err := done(forward(ctx, in, out)); err != nil {
			select {
			case <-out: // makes room for the error
			default:
			}
			out <- failure(err)
		}
		close(out)
		for range in { // ctx has ended, so the stream ends too
		}
	}()
	return out
}

func forward(ctx context.Context, in clientv3.GetStreamChan, out chan<- clientv3.RangeStreamResponse) error {
	for response := range in {
		if err := response.Err(); err != nil {
			return err
		}
		select {
		case out <- response:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// failure returns the last response of a stream that failed with err. The client of etcd
// exports no other way to make one.
func failure(err error) clientv3.RangeStreamResponse {
	stream, _ := clientv3.NewKVFromKVClient(failed{err: err}, nil).GetStream(context.Background(), "\x00")
	return <-stream
}

// failed is a client whose streams fail.
type failed struct {
	pb.KVClient
	grpc.ClientStream
	err error
}

func (f failed) RangeStream(context.Context, *pb.RangeRequest, ...grpc.CallOption) (pb.KV_RangeStreamClient, error) {
	return f, nil
}

func (f failed) Recv() (*pb.RangeStreamResponse, error) { return nil, f.err }
