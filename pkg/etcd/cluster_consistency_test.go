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

	"go.etcd.io/bbolt"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/etcd"
)

// changeValue changes bytes of a value in the database of a stopped member.
func changeValue(t *testing.T, cfg etcd.Config, before, after string) {
	t.Helper()
	db, err := bbolt.Open(filepath.Join(cfg.Dir, "member", "snap", "db"), 0o600, &bbolt.Options{Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	changed := 0
	if err := db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte("key"))
		return b.ForEach(func(k, v []byte) error {
			if !bytes.Contains(v, []byte(before)) {
				return nil
			}
			changed++
			return b.Put(bytes.Clone(k), bytes.Replace(bytes.Clone(v), []byte(before), []byte(after), 1))
		})
	}); err != nil || changed != 1 {
		t.Fatalf("changed %d values, %v", changed, err)
	}
}

// TestMemberWithDifferentDataIsRefused: a member whose data was changed while it was
// stopped does not start, and does not keep the others from starting.
func TestMemberWithDifferentDataIsRefused(t *testing.T) {
	members, configs := newTestCluster(t, "a", "b", "c").startAll()
	mustPut(t, members["a"].Client(), "k", "AAAA")
	// A client reads from any member.
	testwait.Until(t, "the value in c", func(context.Context) error {
		if have, want := members["c"].Status().Revision, members["a"].Status().Revision; have < want || want < 2 {
			return fmt.Errorf("revision %d, of %d", have, want)
		}
		return nil
	})
	if n, err := members["a"].PeerTransports(); n != 3 || err != nil {
		t.Errorf("%d transports to peers, %v", n, err)
	}
	stop := func(name string) {
		t.Helper()
		if err := members[name].Close(); err != nil {
			t.Fatal(err)
		}
	}
	again := func(name string) {
		t.Helper()
		m, err := startMember(configs[name])
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		members[name] = m
		t.Cleanup(func() { _ = m.Close() })
	}
	stop("c")
	changeValue(t, configs["c"], "AAAA", "BBBB")
	// Neither missed writes nor a compaction hide the difference.
	mustPut(t, members["a"].Client(), "later", "1")
	if _, err := members["a"].Client().Compact(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	refused(t, configs["c"], etcd.ErrCorrupt, "with RemoveMember")
	wantValue(t, members["a"].Client(), "k", "AAAA")
	stop("a")
	again("a")
	wantValue(t, members["a"].Client(), "later", "1")

	// With only one other member there is no majority.
	stop("b")
	etcd.SetAgreeTimeout(t, time.Second)
	refused(t, configs["c"], etcd.ErrCorrupt, "too few members answer")
	again("b")

	changeValue(t, configs["c"], "BBBB", "AAAA")
	again("c")
	wantValue(t, members["c"].Client(), "k", "AAAA")

	// A compaction at the last revision does not hide it either: etcd has stored the hash
	// before it.
	got, err := members["a"].Client().Get(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := members["a"].Client().Compact(t.Context(), got.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	stop("c")
	changeValue(t, configs["c"], "AAAA", "BBBB")
	refused(t, configs["c"], etcd.ErrCorrupt, "with RemoveMember")
}

// TestDifferentMemberEnds: the leader compares the members while they run. A member that
// differs ends by itself, and the others continue without intervention.
func TestDifferentMemberEnds(t *testing.T) {
	members, _ := newTestCluster(t, "a", "b", "c").startAll()
	client := members["a"].Client()
	mustPut(t, client, "k", "AAAA")
	leader := leaderOf(t, members["a"]).Name
	wrong, right := "a", "b"
	for name := range members {
		if name != leader {
			wrong = name
		}
	}
	for name := range members {
		if name != wrong {
			right = name
		}
	}
	// The client reads from the leader. The follower may not have the value yet.
	testwait.True(t, "the value in "+wrong, func() bool { return members[wrong].Overwrite("AAAA", "BBBB") == 1 })
	client = members[right].Client()
	testwait.Until(t, "the end of the different member", func(ctx context.Context) error {
		got, err := client.Put(ctx, "x", "y")
		if err == nil {
			_, err = client.Compact(ctx, got.Header.Revision, clientv3.WithCompactPhysical())
		}
		for name, m := range members {
			if name != wrong && m.Leads() && !m.CheckCompactHashes() {
				t.Fatal("the leader does not compare hashes")
			}
		}
		select {
		case <-members[wrong].Done():
			return nil
		case <-time.After(100 * time.Millisecond):
			return errors.Join(errors.New("it runs"), err)
		}
	})
	if err := members[wrong].Err(); !errors.Is(err, etcd.ErrCorrupt) {
		t.Errorf("the member ended with %v, want %v", err, etcd.ErrCorrupt)
	}
	_ = members[wrong].Close()
	// Writes are refused until the leader has cleared the alarm.
	testwait.Until(t, "a write after its end", func(ctx context.Context) error {
		_, err := client.Put(ctx, "after", "1")
		return err
	})
	if err := members[right].CheckSpace(); err != nil {
		t.Error(err)
	}
}

// TestAlarmAboutMemberZero: the leader sees that two members differ while the third is
// down, and etcd's alarm is about member 0. When the third is back, the member that
// differs from both ends, even if it leads, and the others continue without intervention.
func TestAlarmAboutMemberZero(t *testing.T) {
	for _, leads := range []bool{false, true} {
		t.Run(fmt.Sprintf("leader=%v", leads), func(t *testing.T) {
			members, configs := newTestCluster(t, "a", "b", "c").startAll()
			mustPut(t, members["a"].Client(), "k", "AAAA")
			leader := leaderOf(t, members["a"]).Name
			var followers []string
			for name := range members {
				if name != leader {
					followers = append(followers, name)
				}
			}
			wrong, right, down := followers[0], leader, followers[1]
			if leads {
				wrong, right = right, wrong
			}
			wantValue(t, members[wrong].Client(), "k", "AAAA")
			if err := members[down].Close(); err != nil {
				t.Fatal(err)
			}
			testwait.Until(t, "the value before the change", func(context.Context) error {
				if members[wrong].Overwrite("AAAA", "BBBB") != 1 {
					return errors.New("it is not there")
				}
				return nil
			})
			client := members[right].Client()
			testwait.Until(t, "the alarm", func(ctx context.Context) error {
				got, err := client.Put(ctx, "x", "y")
				if err == nil {
					_, err = client.Compact(ctx, got.Header.Revision, clientv3.WithCompactPhysical())
				}
				for _, name := range []string{wrong, right} {
					if members[name].Leads() {
						members[name].CheckCompactHashes()
					}
				}
				if members[right].AlarmAboutMemberZero() {
					return nil
				}
				return fmt.Errorf("no alarm about member 0: %w", err)
			})
			m, err := startMember(configs[down])
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = m.Close() })
			select {
			case <-members[wrong].Done():
			case <-time.After(time.Minute):
				t.Fatal("the different member still runs")
			}
			if err := members[wrong].Err(); !errors.Is(err, etcd.ErrCorrupt) {
				t.Errorf("the member ended with %v, want %v", err, etcd.ErrCorrupt)
			}
			_ = members[wrong].Close()
			mustPut(t, client, "after", "1")
			wantValue(t, m.Client(), "k", "AAAA")
		})
	}
}
