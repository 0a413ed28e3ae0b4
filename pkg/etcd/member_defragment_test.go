// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package etcd_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/etcd"
)

// TestMembersDefragmentInTurns: members defragment one at a time, and the leader after
// the others.
func TestMembersDefragmentInTurns(t *testing.T) {
	members, _ := newTestCluster(t, "a", "b", "c").startAll()
	leader := leaderOf(t, members["a"]).Name
	testwait.Until(t, "all know the leader", func(context.Context) error {
		for name, m := range members {
			if status := m.Status(); (status.Leader == status.MemberID) != (name == leader) || status.Leader == 0 {
				return fmt.Errorf("%s: %+v", name, status)
			}
		}
		return nil
	})
	// Independent of the turn in which they want to begin.
	for begin := range 6 {
		wantTurns(t, members, leader, time.Now().Add(time.Duration(begin)*5*time.Second))
	}
	alone := memberWith(t, 0)
	if wait := etcd.NewTurns(alone).Until(time.Now()); wait != 0 {
		t.Errorf("a standalone member waits %v", wait)
	}
}

func wantTurns(t *testing.T, members map[string]*etcd.Member, leader string, begin time.Time) {
	t.Helper()
	turns := map[string]etcd.Turns{}
	for name, m := range members {
		turns[name] = etcd.NewTurns(m)
	}
	first := map[string]time.Duration{}
	for after := time.Duration(0); after < 2*time.Minute; after += time.Second {
		var now []string
		for name := range members {
			if turns[name].Until(begin.Add(after)) == 0 {
				now = append(now, name)
				if _, ok := first[name]; !ok {
					first[name] = after
				}
			}
		}
		if len(now) > 1 {
			t.Errorf("after %v it is the turn of %v", after, now)
		}
	}
	for name := range members {
		at, ok := first[name]
		if !ok || (name != leader && at >= first[leader]) {
			t.Errorf("%s has its first turn after %v, %v; the leader %s after %v", name, at, ok, leader, first[leader])
		}
	}
}
