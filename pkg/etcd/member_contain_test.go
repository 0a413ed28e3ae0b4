// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package etcd_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/kubembed/kubembed/pkg/etcd"
)

func TestFatalFailsTheMemberOnly(t *testing.T) {
	m := start(t, etcd.Config{Dir: t.TempDir(), Ephemeral: true})
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		m.ContainedLogger().Fatal("the disk is on fire")
		t.Error("Fatal returned")
	}()
	<-m.Done()
	if err := m.Err(); err == nil || !strings.Contains(err.Error(), "the disk is on fire") {
		t.Errorf("Err: %v", err)
	}
	if _, err := m.Client().Get(t.Context(), "k"); !errors.Is(err, rpctypes.ErrStopped) {
		t.Errorf("get: %v", err)
	}
	if _, err := m.DialContext(t.Context(), "", ""); !errors.Is(err, etcd.ErrClosed) {
		t.Errorf("dial: %v", err)
	}
	closeMember(t, m) // no goroutine of etcd is blocked
	<-exited
	if m.Err() == nil {
		t.Error("Close made Err nil")
	}
}

func TestPanicInStartIsAnError(t *testing.T) {
	logger := onMessage("starting an etcd server", func() { panic("not today") })
	_, err := etcd.Start(t.Context(), etcd.Config{Dir: t.TempDir(), Logger: logger})
	if err == nil || !strings.Contains(err.Error(), "not today") {
		t.Errorf("start: %v", err)
	}
}

// TestCloseOfBlockedMemberReturns: a goroutine of etcd that gave up blocks etcd's own
// stop.
func TestCloseOfBlockedMemberReturns(t *testing.T) {
	_, line := child(t, "blocked", t.TempDir()) // its goroutines would stay in this process
	if line != "survived" {
		t.Error(line)
	}
}

// blocked runs in a process of its own.
func blocked(dir string) error {
	ctx := context.Background()
	var m *etcd.Member
	logger := onMessage("finished scheduled compaction", func() { m.ContainedLogger().Fatal("compaction gave up") })
	m, err := etcd.Start(ctx, etcd.Config{Dir: dir, Logger: logger})
	if err != nil {
		return err
	}
	resp, err := m.Client().Put(ctx, "k", "v")
	if err != nil {
		return err
	}
	if _, err := m.Client().Compact(ctx, resp.Header.Revision); err != nil {
		return err
	}
	<-m.Done()
	if err := m.Err(); err == nil || !strings.Contains(err.Error(), "compaction gave up") {
		return fmt.Errorf("Err: %w", err)
	}
	if err := m.Close(); err == nil || !strings.Contains(err.Error(), "has not stopped") {
		return fmt.Errorf("Close: %w", err)
	}
	if _, err := etcd.Start(ctx, etcd.Config{Dir: dir}); !errors.Is(err, etcd.ErrInUse) {
		return fmt.Errorf("start on the directory of the blocked member: %w", err)
	}
	fmt.Println("survived")
	return nil
}
