// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubembed/kubembed/internal/e2e/cluster/history"
	"github.com/kubembed/kubembed/internal/testwait"
)

// round are the calls of clients for some objects, before, during and after a fault.
type round struct {
	namespace string
	log       *history.Log
	values    atomic.Int64

	mu       sync.Mutex
	known    map[string]uint64 // the last resource version that a client saw
	failures []failure
	acks     map[string][]history.Call // the acknowledged writes, by member
}

// failure is an unexpected answer.
type failure struct {
	member     string
	start, end time.Duration
	err        error
}

func newRound(t *testing.T, m *member, namespace string) *round {
	t.Helper()
	testwait.UntilWithin(t, waitTimeout, "create a namespace", func(ctx context.Context) error {
		o := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
		err := m.api.Load().Post().Resource("namespaces").Body(o).Do(ctx).Error()
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		return err
	})
	return &round{namespace: namespace, log: history.NewLog(), known: map[string]uint64{}, acks: map[string][]history.Call{}}
}

// expect returns a version for an update, mostly the newest known one.
func (r *round) expect(key string) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.known[key]
}

func (r *round) saw(key string, version uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known[key] = max(r.known[key], version)
}

func (r *round) acknowledged(c history.Call) {
	r.saw(c.Key, c.Version)
	if c.Op != history.Get {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.acks[c.Member] = append(r.acks[c.Member], c)
	}
}

// acked counts the writes that a member acknowledged and that began after a time. It
// also returns the time of the first acknowledgement.
func (r *round) acked(m *member, after time.Duration) (n int, first time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.acks[m.name] {
		if c.Start >= after {
			if n++; n == 1 || c.End < first {
				first = c.End
			}
		}
	}
	return n, first
}

func (r *round) failed(c history.Call, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, failure{c.Member, c.Start, c.End, err})
}

// readAll reads all objects through a member, as the last calls of a round.
func (r *round) readAll(t *testing.T, id int, m *member) {
	t.Helper()
	c := &client{round: r, id: id, member: m}
	for i := range keys {
		call := history.Call{Client: id, Member: m.name, Key: "k" + strconv.Itoa(i), Op: history.Get}
		testwait.UntilWithin(t, waitTimeout, m.name+": read "+call.Key, func(ctx context.Context) error {
			call.Start = r.log.Now()
			object, err := c.do(ctx, call)
			call.End = r.log.Now()
			call.Outcome = outcome(err)
			if call.Outcome == history.Unknown {
				return err
			}
			if err == nil {
				call.Read, call.Version = object.Data["value"], versionOf(object)
			}
			return nil
		})
		r.log.Add(call)
	}
	before := len(r.log.Lists())
	testwait.UntilWithin(t, waitTimeout, m.name+": list", func(ctx context.Context) error {
		c.list(ctx)
		if len(r.log.Lists()) == before {
			return errors.New("no list")
		}
		return nil
	})
}

// complaints counts the failures by kind.
func (r *round) complaints() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	kinds := map[string]int{}
	for _, f := range r.failures {
		text := f.err.Error()
		if i := strings.LastIndex(text, ": "); i >= 0 && strings.Contains(text, "https://") {
			text = text[i+2:]
		}
		kinds[f.member+": "+text]++
	}
	return kinds
}
