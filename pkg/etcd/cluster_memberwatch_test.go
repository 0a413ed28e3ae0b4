// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package etcd_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/kubembed/kubembed/internal/logging"
	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/etcd"
)

// TestMembersAreLogged: members that are added, removed, or do not answer are logged.
// etcd's own log is about streams and terms.
func TestMembersAreLogged(t *testing.T) {
	etcd.SetMemberWatch(t, 50*time.Millisecond, 5*time.Second)
	core, logs := observer.New(zapcore.DebugLevel)
	c := newTestCluster(t, "a", "b", "c")
	configs := map[string]etcd.Config{}
	for name, address := range c.first {
		configs[name] = c.config(name, address, nil)
	}
	a := configs["a"]
	a.Logger = logging.Lower(zap.New(core)) // as a control plane has it
	configs["a"] = a
	members := startMembers(t, configs)
	logged := func(level zapcore.Level, message, member string) {
		t.Helper()
		testwait.Until(t, message, func(context.Context) error {
			for _, entry := range logs.FilterMessageSnippet(message).All() {
				if entry.Level == level && (member == "" || entry.ContextMap()["member"] == member) {
					return nil
				}
			}
			return fmt.Errorf("no line %q about %q", message, member)
		})
	}
	if n := logs.FilterLevelExact(zapcore.WarnLevel).Len(); n > 0 {
		t.Errorf("warnings of the start: %v", logs.FilterLevelExact(zapcore.WarnLevel).All())
	}
	if err := members["c"].Close(); err != nil {
		t.Fatal(err)
	}
	logged(zapcore.WarnLevel, "a member of the cluster does not answer", "c")
	again, err := startMember(configs["c"])
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	logged(zapcore.InfoLevel, "the member of the cluster answers again", "c")

	if _, err := members["b"].AddMember(t.Context(), "d", peerAddr()); err != nil {
		t.Fatal(err)
	}
	logged(zapcore.InfoLevel, "a member was added to the cluster", "")
	testwait.Until(t, "the removal of d", func(ctx context.Context) error {
		list, err := members["b"].Members(ctx)
		if err != nil {
			return err
		}
		for _, member := range list {
			if member.Learner {
				return errors.Join(members["b"].RemoveMember(ctx, member.PeerAddr), errors.New("it is looked again"))
			}
		}
		return nil
	})
	logged(zapcore.InfoLevel, "a member was removed from the cluster", "")

	if err := errors.Join(members["b"].Close(), again.Close()); err != nil {
		t.Fatal(err)
	}
	logged(zapcore.WarnLevel, "the cluster has no leader", "")
}

// startMembers starts all members concurrently.
func startMembers(t *testing.T, configs map[string]etcd.Config) map[string]*etcd.Member {
	t.Helper()
	type result struct {
		name   string
		member *etcd.Member
		err    error
	}
	results := make(chan result)
	for name, cfg := range configs {
		go func() {
			m, err := startMember(cfg)
			results <- result{name, m, err}
		}()
	}
	members := map[string]*etcd.Member{}
	for range configs {
		r := <-results
		if r.err != nil {
			t.Error(r.name, r.err)
			continue
		}
		members[r.name] = r.member
		t.Cleanup(func() { _ = r.member.Close() })
	}
	if t.Failed() {
		t.FailNow()
	}
	return members
}
