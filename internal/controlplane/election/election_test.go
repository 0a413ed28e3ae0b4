// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package election_test

import (
	"context"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// memoryLock is a Lease in memory.
type memoryLock struct {
	resourcelock.Interface
	mu     sync.Mutex
	record resourcelock.LeaderElectionRecord
}

func (l *memoryLock) Get(context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	record := l.record
	return &record, []byte(record.HolderIdentity + record.RenewTime.String()), nil
}

func (l *memoryLock) Update(_ context.Context, record resourcelock.LeaderElectionRecord) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.record = record
	return nil
}

func (l *memoryLock) RecordEvent(string) {}
func (l *memoryLock) Identity() string   { return "this" }
func (l *memoryLock) Describe() string   { return "memory" }

// TestElectionIgnoresTimeInLease: elections rely on client-go to judge a Lease by the
// time at which it saw the Lease change. A Lease that a stopped server renewed a year
// ahead is taken over as early as any other, and a Lease of a year ago no earlier.
func TestElectionIgnoresTimeInLease(t *testing.T) {
	t.Parallel()
	const duration = time.Second
	for name, jump := range map[string]time.Duration{"ahead": 365 * 24 * time.Hour, "back": -365 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			var elected time.Duration
			begin := time.Now()
			leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{
				Lock: &memoryLock{record: resourcelock.LeaderElectionRecord{
					HolderIdentity: "gone", LeaseDurationSeconds: int(duration / time.Second), RenewTime: metav1.NewTime(begin.Add(jump)),
				}},
				LeaseDuration: duration, RenewDeadline: duration * 7 / 10, RetryPeriod: duration / 10,
				Callbacks: leaderelection.LeaderCallbacks{
					OnStartedLeading: func(context.Context) { elected = time.Since(begin); cancel() },
					OnStoppedLeading: func() {},
				},
			})
			if elected < duration {
				t.Errorf("elected after %v, want at least %v", elected, duration)
			}
		})
	}
}
