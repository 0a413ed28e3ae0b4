// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// apiServer is an API server with one group version for each API. Discovery lags behind.
type apiServer struct {
	lag       time.Duration
	discovery *apiDiscovery

	mu                              sync.Mutex
	created, discoverable, prepared []string
	discoveries                     int
}

func startDiscovery(t *testing.T, lag time.Duration) *apiServer {
	s := &apiServer{lag: lag, created: []string{"v1"}, discoverable: []string{"v1"}}
	s.discovery = newAPIDiscovery(s.resources())
	s.discovery.discover = func() ([]*metav1.APIResourceList, error) {
		time.Sleep(5 * time.Millisecond)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.discoveries++
		return s.resources(), nil
	}
	s.discovery.complete = func(found []*metav1.APIResourceList) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return slices.Equal(names(found), s.created)
	}
	s.discovery.prepare = func(_ context.Context, found []*metav1.APIResourceList) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.prepared = names(found)
	}
	go s.discovery.run(t.Context())
	return s
}

func (s *apiServer) resources() (all []*metav1.APIResourceList) {
	for _, name := range s.discoverable {
		all = append(all, &metav1.APIResourceList{GroupVersion: name})
	}
	return all
}

func names(resources []*metav1.APIResourceList) (all []string) {
	for _, list := range resources {
		all = append(all, list.GroupVersion)
	}
	return all
}

func (s *apiServer) create(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.created = append(s.created, name)
	s.discovery.notify()
	time.AfterFunc(s.lag, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.discoverable = append(s.discoverable, name)
	})
}

// count returns the number of discoveries so far.
func (s *apiServer) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.discoveries
}

func (s *apiServer) hasPrepared(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.prepared, name)
}

// answers returns the wait of a controller for an API.
func (s *apiServer) answers(t *testing.T) (wait func(name string)) {
	answers := &blockingDiscovery{ctx: t.Context(), apis: s.discovery}
	return func(name string) {
		t.Helper()
		for {
			found, err := answers.ServerPreferredResources()
			if err != nil {
				t.Fatal(err)
			}
			if slices.Contains(names(found), name) {
				if name != "v1" && !s.hasPrepared(name) {
					t.Errorf("%s was known before its informers have synced", name)
				}
				return
			}
		}
	}
}

// TestDiscoveryFollowsChanges: controllers get a new API as soon as discovery has it, not
// at the next second. They got it up to a second later, or up to 30.
func TestDiscoveryFollowsChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startDiscovery(t, 100*time.Millisecond)
		garbage, quota := s.answers(t), s.answers(t)
		garbage("v1")
		quota("v1")
		time.Sleep(time.Minute)
		for _, name := range []string{"example.com/v1", "example.com/v2"} {
			start := time.Now()
			s.create(name)
			garbage(name)
			quota(name)
			if took := time.Since(start); took < s.lag || took > 4*s.lag {
				t.Errorf("%s was known after %s, want soon after %s", name, took, s.lag)
			}
		}
	})
}

// TestDiscoveryOfManyChanges: discovery takes a sixth of the time while many APIs are
// created, and ends when it has all of them.
func TestDiscoveryOfManyChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startDiscovery(t, 30*time.Millisecond)
		known := s.answers(t)
		time.Sleep(time.Minute)
		before := s.count()
		for i := range 100 {
			time.Sleep(10 * time.Millisecond)
			s.create("example" + string(rune('a'+i%26)) + string(rune('a'+i/26)) + ".com/v1")
		}
		known(s.created[len(s.created)-1])
		// Each takes 5 ms, and a pause of 25 ms follows.
		if got := s.count() - before; got > 1100/30 {
			t.Errorf("100 new APIs in a second: got %d discoveries, want at most one in 30 ms", got)
		}
		time.Sleep(time.Second)
		before = s.count()
		time.Sleep(discoveryInterval - 2*time.Second)
		if got := s.count() - before; got != 0 {
			t.Errorf("without a change: got %d discoveries before the interval, want none", got)
		}
		time.Sleep(discoveryInterval)
		if got := s.count() - before; got != 1 {
			t.Errorf("without a change: got %d discoveries in the interval, want 1", got)
		}
	})
}

// TestDiscoveryOfMissingAPI: an API that discovery never has, such as one with a name
// that another has too, is looked for once a second and given up.
func TestDiscoveryOfMissingAPI(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startDiscovery(t, time.Hour)
		time.Sleep(time.Minute)
		before := s.count()
		s.create("example.com/v1")
		time.Sleep(discoverySettleTime)
		if got := s.count() - before; got < 10 || got > 20 {
			t.Errorf("got %d discoveries in %s, want one each second, and some at first", got, discoverySettleTime)
		}
		time.Sleep(2 * time.Second)
		before = s.count()
		time.Sleep(discoveryInterval - 3*time.Second)
		if got := s.count() - before; got > 1 {
			t.Errorf("got %d discoveries later, want none", got)
		}
	})
}

// TestDiscoveryRepeatsAnswers: a controller that fails tries again by asking again, so
// that a new answer is repeated each second for a while.
func TestDiscoveryRepeatsAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startDiscovery(t, 0)
		answers := &blockingDiscovery{ctx: t.Context(), apis: s.discovery}
		ask := func() time.Duration {
			start := time.Now()
			if _, err := answers.ServerPreferredResources(); err != nil {
				t.Error(err)
			}
			return time.Since(start)
		}
		if waited := ask(); waited != 0 {
			t.Errorf("the first answer took %s, want 0s", waited)
		}
		if waited := ask(); waited != discoveryPause {
			t.Errorf("a new answer was repeated after %s, want %s", waited, discoveryPause)
		}
		time.Sleep(discoverySettleTime)
		if waited := ask(); waited < discoveryPause+time.Millisecond {
			t.Errorf("an old answer was repeated after %s, want the next discovery", waited)
		}
	})
}
