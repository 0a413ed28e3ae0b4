// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubembed/kubembed/internal/testwait"
)

var kills = flag.Int("kills", 4, "how often TestLeaderIsKilledAgainAndAgain kills the leader")

// writesPerKill is the minimal number of acknowledged writes around each kill.
const writesPerKill = 1000

// handover is the effect of one change of the leader on writers.
type handover struct {
	// first is the time from the kill until one of the other members acknowledged a
	// write that began after it, and all until both did.
	first, all time.Duration
	// longest is the longest duration of an acknowledged write.
	longest time.Duration
}

// TestLeaderIsKilledAgainAndAgain kills the leader during many writes and starts it
// again. Every member has every acknowledged write.
func TestLeaderIsKilledAgainAndAgain(t *testing.T) {
	c := newChaos(t, false)
	var handovers []handover
	total := 0
	n := *kills
	if testing.Short() {
		n = 1
	}
	for i := range n {
		h, writes := c.handover(t, "kill-"+strconv.Itoa(i))
		t.Logf("kill %d: the first write after it was acknowledged after %s through one of the others and %s through both; the slowest took %s; %d acknowledged writes are there",
			i+1, h.first.Round(time.Millisecond), h.all.Round(time.Millisecond), h.longest.Round(time.Millisecond), writes)
		handovers = append(handovers, h)
		total += writes
	}
	t.Logf("%d kills, %d acknowledged writes, 0 lost", len(handovers), total)
	t.Logf("first write through one of the others: %s", spread(handovers, func(h handover) time.Duration { return h.first }))
	t.Logf("first write through both:              %s", spread(handovers, func(h handover) time.Duration { return h.all }))
	t.Logf("slowest write:                         %s", spread(handovers, func(h handover) time.Duration { return h.longest }))
}

type ack struct {
	member     *member
	name       string
	start, end time.Time
}

func (c *chaos) handover(t *testing.T, namespace string) (h handover, writes int) {
	t.Helper()
	leader := c.find(t)
	newRound(t, leader, namespace)
	ctx, stop := context.WithCancel(t.Context())
	acks := make(chan ack, 1<<16)
	var writers sync.WaitGroup
	defer writers.Wait()
	defer stop()
	for _, m := range c.members {
		for w := range 4 {
			writers.Go(func() { write(ctx, m, namespace, m.name+"-"+strconv.Itoa(w), acks) })
		}
	}
	var acked []ack
	take := func() ack {
		t.Helper()
		select {
		case a := <-acks:
			acked = append(acked, a)
			return a
		case <-time.After(waitTimeout):
			t.Fatalf("no further write was acknowledged in time after %d writes", len(acked))
		}
		return ack{}
	}
	for range writesPerKill/4 + rand.IntN(writesPerKill/2) {
		take()
	}
	began := time.Now()
	leader.kill()
	for after := map[*member]bool{}; len(after) < 2 || len(acked) < writesPerKill; {
		a := take()
		if a.member == leader || a.start.Before(began) || after[a.member] {
			continue
		}
		after[a.member] = true
		if h.all = a.end.Sub(began); h.first == 0 {
			h.first = h.all
		}
	}
	stop()
	writers.Wait()
	close(acks)
	for a := range acks {
		acked = append(acked, a)
	}
	for _, a := range acked {
		h.longest = max(h.longest, a.end.Sub(a.start))
	}
	all(t, []*member{leader}, killed.undo)
	for _, m := range c.members {
		if lost := missing(t, m, namespace, acked); len(lost) > 0 {
			t.Fatalf("%s has lost %d of %d acknowledged writes: %q", m.name, len(lost), len(acked), lost[:min(len(lost), 20)])
		}
	}
	return h, len(acked)
}

// write creates objects through a member, one after another.
func write(ctx context.Context, m *member, namespace, prefix string, acks chan<- ack) {
	for n := 0; ctx.Err() == nil; n++ {
		a := ack{member: m, name: fmt.Sprintf("%s-%d", prefix, n), start: time.Now()}
		call, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		o := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: a.name}}
		err := m.api.Load().Post().Namespace(namespace).Resource("configmaps").MaxRetries(0).Body(o).Do(call).Error()
		cancel()
		if err == nil {
			a.end = time.Now()
			acks <- a
			continue
		}
		// Do not spin while the member is down.
		select {
		case <-ctx.Done():
		case <-time.After(pace):
		}
	}
}

// missing returns the acknowledged writes that a member does not have.
func missing(t *testing.T, m *member, namespace string, acked []ack) (names []string) {
	t.Helper()
	list := &corev1.ConfigMapList{}
	testwait.UntilWithin(t, waitTimeout, m.name+": list", func(ctx context.Context) error {
		return m.api.Load().Get().Namespace(namespace).Resource("configmaps").Do(ctx).Into(list)
	})
	there := map[string]bool{}
	for i := range list.Items {
		there[list.Items[i].Name] = true
	}
	for _, a := range acked {
		if !there[a.name] {
			names = append(names, a.name)
		}
	}
	return names
}
