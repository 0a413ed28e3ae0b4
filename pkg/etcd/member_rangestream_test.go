// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package etcd_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/kubembed/kubembed/internal/etcdstream"
	"github.com/kubembed/kubembed/pkg/etcd"
)

const (
	streamPrefix = "/registry/configmaps/"
	streamKeys   = 1500
	streamValue  = 8 << 10 // 12 MB altogether
)

// fillStream stores many keys, and returns the last revision.
func fillStream(t *testing.T, client *clientv3.Client) (revision int64) {
	t.Helper()
	value := string(bytes.Repeat([]byte("x"), streamValue))
	for i := 0; i < streamKeys; {
		var puts []clientv3.Op
		for range 100 {
			puts = append(puts, clientv3.OpPut(fmt.Sprintf("%s%05d", streamPrefix, i), value))
			i++
		}
		got, err := client.Txn(t.Context()).Then(puts...).Commit()
		if err != nil {
			t.Fatal(err)
		}
		revision = got.Header.Revision
	}
	return revision
}

// streaming returns a client over gRPC, like the client of a member of a cluster.
func streaming(t *testing.T, m *etcd.Member) *clientv3.Client {
	t.Helper()
	client := dialled(t, m)
	client.KV = etcdstream.KV(client.Ctx(), client.KV)
	return client
}

func openStream(ctx context.Context, t *testing.T, client *clientv3.Client, opts ...clientv3.OpOption) clientv3.GetStreamChan {
	t.Helper()
	stream, err := client.GetStream(ctx, streamPrefix, append(opts, clientv3.WithPrefix())...)
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

// chunk returns the next chunk.
func chunk(t *testing.T, stream clientv3.GetStreamChan) clientv3.RangeStreamResponse {
	t.Helper()
	response, ok := <-stream
	if !ok || response.Err() != nil {
		t.Fatalf("no chunk: %v", response.Err())
	}
	return response
}

// readAll reads a stream like the API server, which removes the objects from the chunks.
func readAll(stream clientv3.GetStreamChan) (kvs []*mvccpb.KeyValue, largest int, revision int64, err error) {
	for response := range stream {
		if err := response.Err(); err != nil {
			return kvs, largest, 0, err
		}
		largest = max(largest, proto.Size(response.RangeResponse))
		if header := response.RangeResponse.GetHeader(); header != nil {
			revision = header.GetRevision()
		}
		for i, kv := range response.RangeResponse.GetKvs() {
			kvs = append(kvs, kv)
			response.RangeResponse.Kvs[i] = nil
		}
	}
	return kvs, largest, revision, nil
}

// TestStream: a stream returns the same objects as a Get, in memory and over gRPC.
func TestStream(t *testing.T) {
	m := start(t, etcd.Config{Dir: filepath.Join(t.TempDir(), "etcd"), Ephemeral: true})
	defer closeMember(t, m)
	fillStream(t, m.Client())
	want, err := m.Client().Get(t.Context(), streamPrefix, clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	for name, client := range map[string]*clientv3.Client{"in memory": m.Client(), "over gRPC": streaming(t, m)} {
		t.Run(name, func(t *testing.T) {
			kvs, largest, revision, err := readAll(openStream(t.Context(), t, client))
			if err != nil {
				t.Fatal(err)
			}
			if revision != want.Header.Revision || len(kvs) != len(want.Kvs) {
				t.Fatalf("%d keys at revision %d, want %d at %d", len(kvs), revision, len(want.Kvs), want.Header.Revision)
			}
			for i := range kvs {
				if !proto.Equal(kvs[i], want.Kvs[i]) {
					t.Fatalf("%s at %d, want %s", kvs[i].Key, i, want.Kvs[i].Key)
				}
			}
			// etcd aims at its limit of requests, and allows itself twice that and a
			// half.
			if largest > 4<<20 {
				t.Errorf("a chunk of %d bytes", largest)
			}
			limited := openStream(t.Context(), t, client, clientv3.WithLimit(25))
			last := clientv3.RangeStreamResponse{}
			for response := range limited {
				last = response
			}
			if r := last.RangeResponse; last.Err() != nil || !r.GetMore() || r.GetCount() != streamKeys {
				t.Errorf("limited: count %d, more %v, %v", r.GetCount(), r.GetMore(), last.Err())
			}
			_, _, _, err = readAll(openStream(t.Context(), t, client, clientv3.WithRev(want.Header.Revision+1000)))
			if !errors.Is(err, rpctypes.ErrFutureRev) {
				t.Errorf("a revision of the future: %v", err)
			}
		})
	}
}

// TestStreamIsOfOneRevision: a stream does not have later writes.
func TestStreamIsOfOneRevision(t *testing.T) {
	m := start(t, etcd.Config{Dir: filepath.Join(t.TempDir(), "etcd"), Ephemeral: true})
	defer closeMember(t, m)
	client := m.Client()
	revision := fillStream(t, client)
	stream := openStream(t.Context(), t, client)
	first := chunk(t, stream)
	mustPut(t, client, fmt.Sprintf("%s%05d", streamPrefix, streamKeys-1), "changed")
	mustPut(t, client, streamPrefix+"99999", "new")
	rest, _, at, err := readAll(stream)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(first.RangeResponse.Kvs) + len(rest); n != streamKeys || at != revision {
		t.Errorf("%d keys at revision %d, want %d at %d", n, at, streamKeys, revision)
	}
	if last := rest[len(rest)-1]; len(last.Value) != streamValue {
		t.Errorf("%s is %q", last.Key, last.Value)
	}

	// A compaction in the middle is an error that the API server understands.
	stream = openStream(t.Context(), t, client)
	chunk(t, stream)
	got, err := client.Put(t.Context(), "later", "1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Compact(t.Context(), got.Header.Revision); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := readAll(stream); !errors.Is(err, rpctypes.ErrCompacted) {
		t.Errorf("after a compaction: %v", err)
	}
}

// TestUnreadStream: an unread stream ends with its context, and never looks complete.
func TestUnreadStream(t *testing.T) {
	m := start(t, etcd.Config{Dir: filepath.Join(t.TempDir(), "etcd"), Ephemeral: true})
	defer closeMember(t, m)
	fillStream(t, m.Client())
	for name, client := range map[string]*clientv3.Client{"in memory": m.Client(), "over gRPC": streaming(t, m)} {
		t.Run(name, func(t *testing.T) {
			if _, _, _, err := readAll(openStream(t.Context(), t, client)); err != nil { // connects
				t.Fatal(err)
			}
			running := goleak.IgnoreCurrent()
			ctx, cancel := context.WithCancel(t.Context())
			abandoned, read := openStream(ctx, t, client), openStream(ctx, t, client)
			chunk(t, abandoned)
			chunk(t, read)
			cancel()
			if err := goleak.Find(running); err != nil { // before the next read
				t.Error(err)
			}
			if _, _, _, err := readAll(read); !errors.Is(err, context.Canceled) {
				t.Errorf("interrupted: %v", err)
			}
			late, err := client.GetStream(ctx, streamPrefix, clientv3.WithPrefix())
			if err == nil {
				_, _, _, err = readAll(late)
			}
			if !errors.Is(err, context.Canceled) {
				t.Errorf("with an ended context: %v", err)
			}
		})
	}
}

// TestCloseEndsStreams: Close does not wait for unread streams.
func TestCloseEndsStreams(t *testing.T) {
	const timeout = 20 * time.Second // more than Close needs on a busy machine
	defer etcd.SetDrainTimeout(timeout)()
	running := goleak.IgnoreCurrent()
	m := start(t, etcd.Config{Dir: filepath.Join(t.TempDir(), "etcd"), Ephemeral: true})
	fillStream(t, m.Client())
	abandoned, read := openStream(t.Context(), t, m.Client()), openStream(t.Context(), t, m.Client())
	chunk(t, abandoned)
	chunk(t, read)
	begin := time.Now()
	closeMember(t, m)
	if took := time.Since(begin); took >= timeout {
		t.Errorf("closed after %s: that is how long it waits for calls", took)
	}
	if err := goleak.Find(running); err != nil {
		t.Error(err)
	}
	if _, _, _, err := readAll(read); !errors.Is(err, rpctypes.ErrStopped) {
		t.Errorf("closed: %v", err)
	}
	if _, err := m.Client().GetStream(t.Context(), streamPrefix, clientv3.WithPrefix()); !errors.Is(err, rpctypes.ErrStopped) {
		t.Errorf("after it: %v", err)
	}
}
