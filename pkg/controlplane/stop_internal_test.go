// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/kubembed/kubembed/internal/lifecycle"
)

// TestStopNamesWhatHangs: a stop that runs out of time names the step that it waits for,
// also if that has no timeout of its own.
func TestStopNamesWhatHangs(t *testing.T) {
	held := make(chan struct{})
	ended := make(chan struct{})
	s := &Server{goroutines: lifecycle.NewGoroutineSet(), fatal: newFatal()}
	s.teardown.push("the Logger", func() error { <-held; close(ended); return nil })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	// Time enough for the rest, which has nothing to do.
	if err := s.unwindWithin(ctx, time.Second); err == nil || !strings.Contains(err.Error(), "waits for the Logger") {
		t.Errorf("error %v, want one that names the Logger", err)
	}
	close(held)
	<-ended
}

// TestStopSaysThatItIsAStop: the error of each part says that it is that of a stop, and
// names the part once.
func TestStopSaysThatItIsAStop(t *testing.T) {
	s := &Server{goroutines: lifecycle.NewGoroutineSet(), fatal: newFatal()}
	s.teardown.push("etcd", func() error { return errors.New("etcd: close: hung") })
	err := s.unwind(t.Context())
	if want := "controlplane: stop: etcd: close: hung"; err == nil || err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
	if err := s.unwind(t.Context()); err != nil {
		t.Errorf("a stop without an error: got %v, want none", err)
	}
}

// TestFailedStartFreesItsAddressFirst: a start that fails before the API server has the
// listeners closes them before parts that may take long.
func TestFailedStartFreesItsAddressFirst(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	s := &Server{goroutines: lifecycle.NewGoroutineSet(), fatal: newFatal(), listener: listener}
	s.teardown.push("etcd", func() error {
		again, err := net.Listen("tcp", listener.Addr().String())
		if err != nil {
			return err
		}
		return again.Close()
	})
	if err := s.unwind(t.Context()); err != nil {
		t.Error(err)
	}
}
