// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package inmem_test

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/kubembed/kubembed/internal/etcd/errdefs"
	"github.com/kubembed/kubembed/internal/etcd/inmem"
	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/etcd"
)

// TestGateway: the first dial starts the server, and Close ends all connections.
func TestGateway(t *testing.T) {
	started := 0
	server := func() *grpc.Server {
		started++
		return grpc.NewServer()
	}
	gateway := inmem.NewGateway(func() *grpc.Server {
		t.Error("the replaced function was called")
		return grpc.NewServer()
	})
	gateway.Set(server)
	if started != 0 {
		t.Error("the server runs before the first dial")
	}
	conn, err := gateway.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	call := func(client *clientv3.Client) error {
		return client.ActiveConnection().Invoke(t.Context(), "/none.Service/Method", &emptypb.Empty{}, &emptypb.Empty{})
	}
	client := through(t, gateway.Dial)
	if err := call(client); status.Code(err) != codes.Unimplemented {
		t.Errorf("a call of a server without services: got %v, want %v", err, codes.Unimplemented)
	}
	if started != 1 {
		t.Errorf("%d servers, want 1", started)
	}
	gateway.Refuse()
	if _, err := gateway.Dial(t.Context()); !errors.Is(err, errdefs.ErrClosed) {
		t.Errorf("dial after Refuse: got %v, want %v", err, errdefs.ErrClosed)
	}
	if err := call(client); status.Code(err) != codes.Unimplemented {
		t.Errorf("an open connection after Refuse: got %v, want %v", err, codes.Unimplemented)
	}
	gateway.Close()
	gateway.Close()
	if err := call(client); status.Code(err) != codes.Unavailable {
		t.Errorf("a connection after Close: got %v, want %v", err, codes.Unavailable)
	}

	unused := inmem.NewGateway(server)
	unused.Close()
	if _, err := unused.Dial(t.Context()); !errors.Is(err, errdefs.ErrClosed) || started != 1 {
		t.Errorf("dial of a closed gateway: got %v and %d servers, want %v", err, started, errdefs.ErrClosed)
	}
}

// TestGatewayClosesSilentConnections: a connection on which its client has sent nothing
// does not delay Close.
func TestGatewayClosesSilentConnections(t *testing.T) {
	gateway := inmem.NewGateway(func() *grpc.Server { return grpc.NewServer() })
	conn, err := gateway.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		gateway.Close()
	}()
	// gRPC itself closes the connection after two minutes.
	if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Fatalf("the client's end: got %v, want the end of the stream", err)
	}
	testwait.True(t, "Close returns", func() bool {
		select {
		case <-closed:
			return true
		default:
			return false
		}
	})
}

// through returns a client whose connections come from dial.
func through(t *testing.T, dial func(context.Context) (net.Conn, error)) *clientv3.Client {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{"passthrough:///member"},
		DialOptions: []grpc.DialOption{
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx) }),
		},
		Logger: zap.NewNop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// TestProxy: calls, their errors and streams go through a proxy unchanged.
func TestProxy(t *testing.T) {
	member, err := etcd.Start(t.Context(), etcd.Config{Dir: t.TempDir(), Ephemeral: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = member.Close() })
	direct := through(t, func(ctx context.Context) (net.Conn, error) { return member.DialContext(ctx, "", "") })
	gateway := inmem.NewGateway(func() *grpc.Server { return inmem.NewProxy(direct) })
	t.Cleanup(gateway.Close)
	client := through(t, gateway.Dial)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	watch := client.Watch(ctx, "k", clientv3.WithCreatedNotify())
	if created, ok := <-watch; !ok || !created.Created {
		t.Fatalf("watch: %+v", created)
	}
	put, err := client.Put(t.Context(), "k", "v")
	if err != nil {
		t.Fatal(err)
	}
	if event := <-watch; event.Err() != nil || len(event.Events) != 1 || string(event.Events[0].Kv.Value) != "v" {
		t.Errorf("event of the put: %+v", event)
	}
	cancel()
	for range watch { // it ends
	}
	got, err := member.Client().Get(t.Context(), "k")
	if err != nil || got.Header.Revision != put.Header.Revision || len(got.Kvs) != 1 {
		t.Errorf("the member has %v, %v, want k at revision %d", got, err, put.Header.Revision)
	}
	if _, err := client.Compact(t.Context(), put.Header.Revision+1000); !errors.Is(err, rpctypes.ErrFutureRev) {
		t.Errorf("compaction of the future: got %v, want %v", err, rpctypes.ErrFutureRev)
	}
	if err := client.ActiveConnection().Invoke(t.Context(), "/none.Service/Method", &emptypb.Empty{}, &emptypb.Empty{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("a method that etcd does not have: got %v, want %v", err, codes.Unimplemented)
	}
	stream, err := client.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, stream); err != nil || n%512 != 32 {
		t.Errorf("a snapshot of %d bytes, %v, want pages and a checksum", n, err)
	}
	_ = stream.Close()
}
