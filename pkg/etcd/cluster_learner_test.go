// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package etcd_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/etcd"
)

// standIn answers at the address of a member that never starts: with the members of the
// cluster, and the hash of its data.
func standIn(t *testing.T, cfg etcd.Config, hash func(revision int64) (*pb.HashKVResponse, error)) {
	t.Helper()
	listener, err := net.Listen("tcp", cfg.Cluster.PeerAddr)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/members", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Etcd-Cluster-ID", "1")
		_, _ = io.WriteString(w, "[]")
	})
	mux.HandleFunc("/members/hashkv", func(w http.ResponseWriter, r *http.Request) {
		var request pb.HashKVRequest
		err := json.NewDecoder(r.Body).Decode(&request)
		var response *pb.HashKVResponse
		if err == nil {
			response, err = hash(request.Revision)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_ = json.NewEncoder(w).Encode(response)
	})
	server := &http.Server{Handler: mux, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Minute}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.ServeTLS(listener, cfg.Cluster.Cert, cfg.Cluster.Key)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-served
	})
}

// TestAlarmAboutMemberZeroWithALearner: etcd compares learners too. The alarm about
// member 0 stays while a running learner cannot be compared, and is replaced by one about
// the learner when it differs.
func TestAlarmAboutMemberZeroWithALearner(t *testing.T) {
	c := newTestCluster(t, "a")
	first := c.config("a", c.first["a"], nil)
	core, logs := observer.New(zap.ErrorLevel)
	first.Logger = zap.New(core)
	m, err := startMember(first)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	mustPut(t, m.Client(), "k", "v")
	cfg := c.config("b", peerAddr(), []string{c.first["a"]})
	var differs atomic.Bool
	var asked atomic.Int32
	standIn(t, cfg, func(revision int64) (*pb.HashKVResponse, error) {
		asked.Add(1)
		if !differs.Load() {
			return nil, errors.New("not now")
		}
		hash, err := m.HashKV(revision)
		if err == nil {
			hash.Hash++
		}
		return hash, err
	})
	if _, err := m.AddMember(t.Context(), "b", cfg.Cluster.PeerAddr); err != nil {
		t.Fatal(err)
	}
	if err := m.RaiseAlarmAboutMemberZero(t.Context()); err != nil {
		t.Fatal(err)
	}
	testwait.Until(t, "three comparisons", func(context.Context) error {
		if n := asked.Load(); n < 3 {
			return errors.New("too few")
		}
		return nil
	})
	if !m.AlarmAboutMemberZero() {
		t.Fatal("the alarm was cleared although a running member was not compared")
	}
	if n := logs.FilterMessageSnippet("cannot be compared").Len(); n != 1 {
		t.Errorf("it was logged %d times", n)
	}
	differs.Store(true)
	testwait.Until(t, "an alarm about the learner only", func(ctx context.Context) error {
		list, err := m.Client().AlarmList(ctx)
		if err != nil {
			return err
		}
		if len(list.Alarms) != 1 || list.Alarms[0].MemberID == 0 || list.Alarms[0].MemberID == list.Header.MemberId {
			return fmt.Errorf("alarms %v", list.Alarms)
		}
		return nil
	})
}
