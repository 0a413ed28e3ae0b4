// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package attack

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// attack runs until ctx ends and leaves nothing open. It counts its work in s.
type attack func(ctx context.Context, t *target, s *stats)

// attacks are the attacks by name. They run independently and at once.
var attacks = map[string]attack{
	// connections_test.go
	"idle-tcp":           idleTCP,
	"idle-tls":           idleTLS,
	"half-handshakes":    halfHandshakes,
	"idle-authenticated": idleAuthenticated,
	"slow-headers":       slowHeaders,
	"idle-insecure":      idleInsecure,
	// http2_test.go
	"rapid-reset":               rapidReset,
	"rapid-reset-authenticated": rapidResetAuthenticated,
	// bodies_test.go
	"endless-bodies":  endlessBodies,
	"large-bodies":    largeBodies,
	"large-headers":   largeHeaders,
	"deep-json":       deepJSON,
	"deep-yaml":       deepYAML,
	"deep-cbor":       deepCBOR,
	"deep-protobuf":   deepProtobuf,
	"unread-watches":  unreadWatches,
	"empty-condition": emptyConditions,
	// tokens_test.go
	"bad-tokens": badTokens,
	"bad-jwts":   badJWTs,
	// requests_test.go
	"request-flood":  requestFlood,
	"large-requests": largeRequests,
	"large-rsa-keys": largeRSAKeys,
	// identities_test.go
	"join-race":     joinRace,
	"server-names":  serverNames,
	"node-squatter": nodeSquatter,
	// proxies_test.go
	"node-proxy": nodeProxy,
	"web-pages":  webPages,
	// snapshots_test.go
	"future-snapshots": futureSnapshots,
	"full-disk":        fullDisk,
}

// stats are the counts of an attack.
type stats struct {
	tries    atomic.Int64 // connections, requests or streams
	answered atomic.Int64 // accepted by the server
	won      atomic.Int64 // successes of the attacker

	mu    sync.Mutex
	first string // description of the first win
	notes map[string]int
}

// win records a success of the attacker.
func (s *stats) win(format string, args ...any) {
	s.won.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.first == "" {
		s.first = fmt.Sprintf(format, args...)
	}
}

// note counts an observation.
func (s *stats) note(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.notes == nil {
		s.notes = map[string]int{}
	}
	if len(s.notes) < 8 || s.notes[what] > 0 {
		s.notes[what]++
	}
}

func (s *stats) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := fmt.Sprintf("%9d tries, %9d answered", s.tries.Load(), s.answered.Load())
	if n := s.won.Load(); n > 0 {
		text += fmt.Sprintf(", WON %d: %s", n, s.first)
	}
	if len(s.notes) > 0 {
		text += fmt.Sprintf(", %v", s.notes)
	}
	return text
}

// rounds calls f until ctx ends, once in every interval at most. Attackers leave CPU time
// to others, or the test would measure only their own speed.
func rounds(ctx context.Context, every time.Duration, f func()) {
	wait.NonSlidingUntilWithContext(ctx, func(context.Context) { f() }, every)
}

// parallel runs f n times at once and returns when all have ended.
func parallel(n int, f func()) {
	var wg sync.WaitGroup
	for range n {
		wg.Go(f)
	}
	wg.Wait()
}
