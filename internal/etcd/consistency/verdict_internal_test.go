// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package consistency

import (
	"errors"
	"slices"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// own is the hash of the member that compares.
var own = mvcc.KeyValueHash{Hash: 1, CompactRevision: 100, Revision: 200}

// answer is what another member answers.
type answer struct {
	hash      uint32
	compacted int64
	err       error
}

// TestVerdict: members count as different only if their hashes can be compared.
func TestVerdict(t *testing.T) {
	var (
		same    = answer{hash: 1, compacted: 100}
		other   = answer{hash: 2, compacted: 100}
		third   = answer{hash: 3, compacted: 100}
		earlier = answer{hash: 2, compacted: 50}
		down    = answer{err: errors.New("connection refused")}
	)
	for name, c := range map[string]struct {
		answers                 []answer
		outvoted, agree, behind bool
		differing               []string
	}{
		"all agree":             {[]answer{same, same}, false, true, false, nil},
		"one differs":           {[]answer{same, other}, false, true, false, []string{"10.0.0.2:2380"}},
		"outvoted":              {[]answer{other, other}, true, false, false, []string{"10.0.0.1:2380", "10.0.0.2:2380"}},
		"three kinds":           {[]answer{other, third}, false, false, false, []string{"10.0.0.1:2380", "10.0.0.2:2380"}},
		"another compaction":    {[]answer{earlier, earlier}, false, false, true, nil},
		"differs, and one down": {[]answer{other, down}, false, false, false, []string{"10.0.0.1:2380"}},
		"agrees, and one down":  {[]answer{same, down}, false, true, false, nil},
		"nobody answers":        {[]answer{down, down}, false, false, true, nil},
		"two of four agree":     {[]answer{same, other, other}, false, false, false, []string{"10.0.0.2:2380", "10.0.0.3:2380"}},
		"three of four differ":  {[]answer{other, other, other}, true, false, false, []string{"10.0.0.1:2380", "10.0.0.2:2380", "10.0.0.3:2380"}},
		"alone":                 {nil, false, true, false, nil},
	} {
		v := verdict{own: own, members: 1 + len(c.answers), same: []string{"10.0.0.0:2380"}, different: map[uint32][]*membership.Member{}}
		for i, a := range c.answers {
			url := "https://10.0.0." + string(rune('1'+i)) + ":2380"
			member := &membership.Member{RaftAttributes: membership.RaftAttributes{PeerURLs: []string{url}}}
			v.add(member, &pb.HashKVResponse{Hash: a.hash, CompactRevision: a.compacted, HashRevision: own.Revision}, a.err)
		}
		if got := v.outvoted(); got != c.outvoted {
			t.Errorf("%s: outvoted %v, want %v", name, got, c.outvoted)
		}
		if got := len(v.same) >= v.quorum(); got != c.agree {
			t.Errorf("%s: a majority agrees: %v, want %v", name, got, c.agree)
		}
		if got := (&Checker{}).behind(v); got != c.behind {
			t.Errorf("%s: behind %v, want %v", name, got, c.behind)
		}
		if got := v.differing(); !slices.Equal(got, c.differing) {
			t.Errorf("%s: %q differ, want %q", name, got, c.differing)
		}
	}
}

// TestLogOnce: an outcome is logged when it is new, not at every comparison.
func TestLogOnce(t *testing.T) {
	core, logs := observer.New(zapcore.ErrorLevel)
	f := &resolver{Checker: &Checker{Log: zap.New(core)}}
	for _, unknown := range [][]string{{"b"}, {"b"}, {"b", "c"}, {"b", "c"}, {"b"}} {
		f.log("too few answer", zap.Strings("unknown", unknown))
	}
	f.log("comparing failed", zap.Error(errors.New("x")))
	f.log("comparing failed", zap.Error(errors.New("x")))
	f.log("comparing failed", zap.Error(errors.New("y")))
	if n := logs.Len(); n != 5 {
		t.Errorf("%d lines, want 5: %v", n, logs.All())
	}
}
