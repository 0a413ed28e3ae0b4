// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"context"
	"fmt"
	"time"

	"github.com/kubembed/kubembed/internal/etcd/calls"
)

// failedTimeout bounds the stop of a failed member. It either stops within milliseconds
// or waits forever for a goroutine that gave up.
const failedTimeout = 2 * time.Second

// drainTimeout bounds how long Close waits for calls in flight. A test prolongs it.
var drainTimeout = time.Second

// closeTimeout bounds the stop of a healthy member. It has one commit and one sync to do,
// which take so long only on a disk that hangs. Tests shorten it.
var closeTimeout = 30 * time.Second

// Close stops the member and waits until it has stopped. It may be called
// again, and concurrently; every call waits and returns the same error. The
// steps, in order:
//
//  1. refuse new calls of the client and new dials;
//  2. cut the in-memory gRPC connections and wait for their handlers;
//  3. wait for reads and writes in flight, a second at most;
//  4. close the client, which ends watches and lease keep-alives, and wait for the
//     watches, a second at most: a watch that still reads would find the database closed
//     under it;
//  5. stop the server, which commits and closes its files, and wait for it;
//  6. unlock the data directory and close Done.
//
// A failed member gets two seconds for steps 2 to 5. If it does not stop, Close returns
// an error, and its goroutines and its open database stay: the directory is in use until
// the process ends. Any other member gets 30 seconds. On a disk that hangs, Close then
// returns an error, the directory stays in use, and steps 5 and 6 finish when the disk
// responds.
func (m *Member) Close() error {
	m.closeOnce.Do(func() { m.closeErr = m.close() })
	return m.closeErr
}

func (m *Member) close() error {
	m.calls.Close()
	m.gateway.Refuse()
	close(m.closing)
	<-m.supervised

	stopped := make(chan error, 1)
	go func() {
		stopped <- m.contain.Run(func() error {
			m.stop()
			return nil
		})
	}()
	failed := m.contain.Failed()
	var timeout <-chan time.Time
	hung := time.NewTimer(closeTimeout)
	defer hung.Stop()
	for {
		select {
		case err := <-stopped:
			if err != nil {
				stopped = nil // a failure: the timeout has been set or is about to be
				continue
			}
			m.contain.Release()
			m.release()
			m.finish(nil)
			return nil
		case <-hung.C:
			if timeout != nil || stopped == nil {
				continue
			}
			err := fmt.Errorf("etcd: close: %s is not closed after %s, and in use until it is: is its disk hung?", m.directory.Dir, closeTimeout)
			go func() {
				if err := <-stopped; err == nil {
					m.contain.Release()
					m.release()
				}
			}()
			m.finish(err)
			return err
		case <-failed:
			// Only a healthy member gets time to write.
			failed, timeout = nil, time.After(failedTimeout)
		case <-timeout:
			err := fmt.Errorf("etcd: close: the failed member has not stopped and keeps %s in use until the process ends: %w", m.directory.Dir, m.contain.Err())
			if m.peers != nil {
				m.peers.Cut()
			}
			m.directory.Unlock()
			m.finish(err)
			return err
		}
	}
}

// stop is steps 2 to 5 of Close.
func (m *Member) stop() {
	m.leave()
	m.gateway.Close()
	drain(m.calls)
	m.watches.Close()
	_ = m.client.Close() // only returns that its context is cancelled
	drain(m.watches)
	m.upkeep.Wait()
	m.etcd.Close()
	if m.peers != nil {
		m.peers.Close()
	}
	// The server has stopped, so calls in flight end soon.
	_ = m.calls.Wait(context.Background())
	_ = m.watches.Wait(context.Background())
}

// drain waits for the calls of a group, drainTimeout at most.
func drain(group *calls.Group) {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	_ = group.Wait(ctx)
}
