// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package inmem

import (
	"context"
	"errors"
	"io"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// NewProxy returns a gRPC server that forwards every call unchanged to client's
// connection. Callers that insist on dialling use the same members and the same TLS as
// other callers. etcd's own proxy would answer some reads from a cache, and registers
// metrics.
func NewProxy(client *clientv3.Client) *grpc.Server {
	return grpc.NewServer(
		grpc.ForceServerCodecV2(frames{}),
		grpc.WaitForHandlers(true),
		grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
			return forward(client.ActiveConnection(), stream)
		}))
}

func forward(to *grpc.ClientConn, in grpc.ServerStream) error {
	method, ok := grpc.MethodFromServerStream(in)
	if !ok {
		return status.Error(codes.Internal, "a call without a method")
	}
	ctx, cancel := context.WithCancel(in.Context())
	defer cancel()
	if md, ok := metadata.FromIncomingContext(ctx); ok {
		ctx = metadata.NewOutgoingContext(ctx, md)
	}
	out, err := to.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method, grpc.ForceCodecV2(frames{}))
	if err != nil {
		return err
	}
	// The caller's side ends at the latest when this returns.
	go func() { _ = pass(in, out) }()
	err = pass(out, in)
	in.SetTrailer(out.Trailer())
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// pass forwards messages until the last one, and returns io.EOF then.
func pass(from, to interface {
	SendMsg(any) error
	RecvMsg(any) error
},
) error {
	for {
		var f frame
		if err := from.RecvMsg(&f); err != nil {
			if c, ok := to.(grpc.ClientStream); ok && errors.Is(err, io.EOF) {
				_ = c.CloseSend()
			}
			return err
		}
		if err := to.SendMsg(&f); err != nil {
			return err
		}
	}
}

// frame is an undecoded message.
type frame struct{ data []byte }

// frames is the codec of frames.
type frames struct{}

func (frames) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.(*frame).data)}, nil
}

func (frames) Unmarshal(data mem.BufferSlice, v any) error {
	v.(*frame).data = data.Materialize()
	return nil
}

func (frames) Name() string { return "proto" }
