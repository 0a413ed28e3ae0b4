// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package etcd_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/etcd"
)

// TestLeaderMoves: clients leave a member that still answers and has watches. gRPC would
// keep the connection as long as the watches last, and block calls that had just chosen
// it.
func TestLeaderMoves(t *testing.T) {
	members, _ := newTestCluster(t, "a", "b", "c").startAll()
	client := members["a"].Client()
	mustPut(t, client, "k", "before")
	before := leaderOf(t, members["a"])
	testwait.Until(t, "a connection to the leader only", func(context.Context) error {
		return onlyConnection(members["a"], before)
	})
	watch := client.Watch(clientv3.WithRequireLeader(t.Context()), "k", clientv3.WithCreatedNotify())
	<-watch

	next := before
	for _, m := range listMembers(t, members["a"]) {
		if m.ID != before.ID {
			next = m
		}
	}
	testwait.Until(t, "another leader", func(ctx context.Context) error {
		_, err := members[before.Name].Client().MoveLeader(ctx, next.ID)
		return err
	})
	testwait.Until(t, "a connection to the new leader only", func(context.Context) error {
		return onlyConnection(members["a"], next)
	})
	mustPut(t, client, "k", "after")
	for response := range watch {
		if err := response.Err(); err != nil {
			t.Fatal(err)
		}
		for _, event := range response.Events {
			if string(event.Kv.Value) == "after" {
				return
			}
		}
	}
	t.Error("the watch has ended")
}

func listMembers(t *testing.T, by *etcd.Member) (all []etcd.ClusterMember) {
	t.Helper()
	testwait.Until(t, "the members", func(ctx context.Context) (err error) {
		all, err = by.Members(ctx)
		return err
	})
	return all
}

func leaderOf(t *testing.T, by *etcd.Member) (leader etcd.ClusterMember) {
	t.Helper()
	testwait.Until(t, "a leader", func(ctx context.Context) error {
		for _, m := range listMembers(t, by) {
			if m.Leader {
				leader = m
				return nil
			}
		}
		return errors.New("there is none")
	})
	return leader
}

// onlyConnection returns an error unless the client of a member is connected to one
// member only.
func onlyConnection(of *etcd.Member, to etcd.ClusterMember) error {
	all, err := of.Members(context.Background())
	if err != nil {
		return err
	}
	for _, m := range all {
		if n := etcd.Connections(of, m.ClientAddr); (n > 0) != (m.ID == to.ID) {
			return fmt.Errorf("%d connections to %s, and %s leads", n, m.Name, to.Name)
		}
	}
	return nil
}
