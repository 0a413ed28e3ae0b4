// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package memberwatch

import (
	"errors"
	"slices"
	"testing"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func member(id types.ID, name string) *membership.Member {
	return &membership.Member{
		ID: id, Attributes: membership.Attributes{Name: name},
		RaftAttributes: membership.RaftAttributes{PeerURLs: []string{"https://10.0.0.1:2380"}},
	}
}

// watched returns a watch, and a function that checks the lines since its last call.
func watched(t *testing.T) (*memberWatch, func(want ...string)) {
	core, logs := observer.New(zapcore.DebugLevel)
	w := &memberWatch{lg: zap.New(core), first: map[uint64]time.Time{}, silent: map[uint64]time.Time{}}
	return w, func(want ...string) {
		t.Helper()
		var got []string
		for _, entry := range logs.TakeAll() {
			line := entry.Level.String() + ": " + entry.Message
			if name, ok := entry.ContextMap()["member"].(string); ok {
				line += ": " + name
			}
			got = append(got, line)
		}
		if !slices.Equal(got, want) {
			t.Errorf("logged %q, want %q", got, want)
		}
	}
}

func TestChanged(t *testing.T) {
	w, logged := watched(t)
	a, b, c := member(1, "a"), member(2, "b"), member(3, "")
	w.changed([]*membership.Member{a, b}) // the members at the start
	logged()
	w.changed([]*membership.Member{a, b, c})
	logged("info: a member was added to the cluster: ")
	w.changed([]*membership.Member{a, b, member(3, "c")}) // it has started
	logged()
	w.changed([]*membership.Member{b, member(3, "c")})
	logged("info: a member was removed from the cluster: a")
	w.changed(nil)
	if len(w.first) > 0 || len(w.known) > 0 {
		t.Errorf("removed members are kept: %v, %v", w.first, w.known)
	}
}

func TestAnswered(t *testing.T) {
	grace := Grace
	defer func() { Grace = grace }()
	Grace = time.Hour
	w, logged := watched(t)
	members := []*membership.Member{member(1, "a"), member(2, "b")}
	down := errors.New("connection refused")
	w.changed(members)
	w.answered(members, []error{nil, down}) // b has not started yet
	logged()
	w.answered(members, []error{down, down})
	logged("warn: a member of the cluster does not answer: a")
	w.answered(members, []error{down, down})
	logged()
	w.answered(members, []error{nil, nil}) // b answers for the first time
	logged("info: the member of the cluster answers again: a")
	w.answered(members, []error{nil, down})
	logged("warn: a member of the cluster does not answer: b")

	Grace = 0
	members = []*membership.Member{member(3, "c")}
	w, logged = watched(t)
	w.changed(members)
	w.answered(members, []error{down})
	logged("warn: a member of the cluster does not answer: c")
	w.changed(nil)
	w.changed(members) // a new member with the same ID is unknown again
	logged("info: a member was removed from the cluster: c", "info: a member was added to the cluster: c")
	w.answered(members, []error{nil})
	logged()
}

func TestLead(t *testing.T) {
	w, logged := watched(t)
	w.lead(1)
	w.lead(2)
	logged()
	w.lead(0)
	w.lead(0)
	logged("warn: the cluster has no leader and writes wait: more than half of its members must run and reach each other")
	w.lead(2)
	w.lead(2)
	logged("info: the cluster has a leader again")
}
