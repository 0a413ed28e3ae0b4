// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package etcd_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/metadata"

	"github.com/kubembed/kubembed/pkg/etcd"
)

// TestCloseUnderBusyWatches: a watch with previous values reads the database for each
// event. It did so while Close closed the database, which ended the process.
func TestCloseUnderBusyWatches(t *testing.T) {
	for range 10 {
		m, err := etcd.Start(t.Context(), etcd.Config{Dir: t.TempDir(), Ephemeral: true})
		if err != nil {
			t.Fatal(err)
		}
		for n := range 2000 {
			if _, err := m.Client().Put(t.Context(), fmt.Sprintf("/%d", n%100), fmt.Sprint(n)); err != nil {
				t.Fatal(err)
			}
		}
		var watchers, watching sync.WaitGroup
		for i := range 30 {
			// A stream for each, as Kubernetes has one for each resource.
			ctx := metadata.AppendToOutgoingContext(context.Background(), "stream", fmt.Sprint(i))
			watch := m.Client().Watch(ctx, "/", clientv3.WithPrefix(), clientv3.WithPrevKV(), clientv3.WithRev(1))
			watching.Add(1)
			first := sync.OnceFunc(watching.Done)
			watchers.Go(func() {
				defer first()
				for range watch {
					first()
				}
			})
		}
		watching.Wait()
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		watchers.Wait()
	}
}
