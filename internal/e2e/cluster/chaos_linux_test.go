// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/kubembed/kubembed/internal/e2e/cluster/history"
	"github.com/kubembed/kubembed/internal/testwait"
)

var rounds = flag.Int("rounds", 1, "how often TestChaos repeats each fault")

const (
	// faultTime is the minimal duration of a fault. Other members have noticed it by
	// then.
	faultTime = 5 * time.Second
	// checkTime bounds the search for an order of each object.
	checkTime = 30 * time.Second
)

// TestChaos injects faults into the leader and into followers while clients read and
// write through all members. All answers must be explained by one sequential server.
// Writes must continue through the unaffected members, and through all members after
// the fault.
func TestChaos(t *testing.T) {
	apart := os.Geteuid() == 0
	if !apart {
		t.Log("no member is cut off: that needs root, for network namespaces")
	}
	n := *rounds
	if testing.Short() {
		n = 1
	}
	c := newChaos(t, apart)
	outages := map[string][]outage{}
	var calls, writes, open int
	for i := range n {
		for j, event := range []struct {
			who whom
			fault
		}{
			{theLeader, killed}, {oneFollower, killed}, {allOfThem, killed},
			{theLeader, paused}, {oneFollower, paused},
			{theLeader, cutOff}, {oneFollower, cutOff}, {allOfThem, cutOff},
		} {
			if event.name == cutOff.name && !apart {
				continue
			}
			what := string(event.who) + " " + event.name
			o := c.outage(t, fmt.Sprintf("chaos-%d-%d", i, j), event.who, event.fault, nil)
			outages[what] = append(outages[what], o)
			calls, writes, open = calls+o.Calls, writes+o.Writes, open+o.Open
			t.Logf("round %d of %d, %s: %s", i+1, n, what, o)
			o.wantExplained(t)
		}
	}
	t.Logf("%d calls, %d acknowledged writes, %d calls without an answer", calls, writes, open)
	for _, what := range slices.Sorted(maps.Keys(outages)) {
		t.Logf("%-16s %s", what, summary(outages[what]))
	}
}

func summary(outages []outage) string {
	writes, others := 0, "there are no others"
	for _, o := range outages {
		writes += o.Writes
		if o.first > 0 {
			others = fmt.Sprintf("first write through the others: %s, their last failure: %s",
				spread(outages, func(o outage) time.Duration { return o.first }), spread(outages, func(o outage) time.Duration { return o.last }))
		}
	}
	return fmt.Sprintf("%d times, %d acknowledged writes; %s; first write after its end: %s",
		len(outages), writes, others, spread(outages, func(o outage) time.Duration { return o.healed }))
}

// TestMutantsAreFound: the check finds clients that report wrong answers.
func TestMutantsAreFound(t *testing.T) {
	c := newChaos(t, true)
	for name, mutant := range map[string]struct {
		fault
		change func(*client)
	}{
		"a stale read through a member that is cut off": {cutOff, func(c *client) { c.stale = c.id%clientsPerMember == 0 }},
		"a write that a dead member acknowledged":       {killed, func(c *client) { c.early = true }},
	} {
		o := c.outage(t, "mutant-"+mutant.fault.name[:3], theLeader, mutant.fault, mutant.change)
		if len(o.Bad) == 0 {
			t.Errorf("%s is not found: %s", name, o)
		}
		t.Logf("%s: %s", name, o)
	}
}

// outage is the effect of one fault on clients.
type outage struct {
	history.Result
	versions   []string
	complaints map[string]int
	// first is the time from the start of the fault until a write that began after it
	// was acknowledged, and last until the end of the last failed call, both through
	// all unaffected members. healed is the time from the end of the fault until a
	// write was acknowledged through all affected members.
	first, last, healed time.Duration
}

func (o outage) String() string {
	return fmt.Sprintf("%s; first write through the others after %s, their last failure after %s; first write %s after its end; failures: %v",
		o.Result, o.first.Round(time.Millisecond), o.last.Round(time.Millisecond), o.healed.Round(time.Millisecond), o.complaints)
}

// outage runs clients of all members during a fault, and checks their history. change
// modifies the clients of affected members.
func (c *chaos) outage(t *testing.T, namespace string, who whom, f fault, change func(*client)) (o outage) {
	t.Helper()
	targets, others := c.choose(t, who)
	r := newRound(t, targets[0], namespace)
	ctx, stop := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	defer clients.Wait()
	defer stop()
	id := 0
	for _, m := range c.members {
		for range clientsPerMember {
			worker := &client{round: r, id: id, member: m, random: rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), uint64(id)))}
			if id++; change != nil && slices.Contains(targets, m) {
				change(worker)
			}
			clients.Go(func() { worker.run(ctx) })
		}
	}
	for _, m := range c.members {
		r.wait(t, m, 0)
	}
	if who == theLeader && c.find(t) != targets[0] {
		t.Log("another member leads now: from the beginning")
		stop()
		clients.Wait()
		return c.outage(t, namespace+"-again", who, f, change)
	}

	began := r.log.Now()
	all(t, targets, f.do)
	over := time.NewTimer(faultTime)
	for _, m := range others {
		o.first = max(o.first, r.wait(t, m, began)-began)
	}
	<-over.C
	ended := r.log.Now()
	all(t, targets, f.undo)
	for _, m := range targets {
		o.healed = max(o.healed, r.wait(t, m, ended)-ended)
	}
	stop()
	clients.Wait()
	for i, m := range c.members {
		r.readAll(t, id+i, m)
	}

	for _, failure := range r.failures {
		if failure.end > began && slices.ContainsFunc(others, func(m *member) bool { return m.name == failure.member }) {
			o.last = max(o.last, failure.end-began)
		}
	}
	o.complaints = r.complaints()
	o.Result = history.Check(r.log.Calls(), checkTime)
	o.versions = history.CheckVersions(r.log.Calls(), r.log.Lists())
	return o
}

// wait waits until a member has acknowledged some writes that began after a time. It
// returns the time of the first acknowledgement.
func (r *round) wait(t *testing.T, m *member, after time.Duration) (first time.Duration) {
	t.Helper()
	testwait.UntilWithin(t, waitTimeout, "writes through "+m.name, func(context.Context) error {
		n, at := r.acked(m, after)
		if first = at; n < 20 {
			return fmt.Errorf("%d are acknowledged; failures: %v", n, r.complaints())
		}
		return nil
	})
	return first
}

// wantExplained fails the test unless an order of the calls explains the answers.
func (o outage) wantExplained(t *testing.T) {
	t.Helper()
	for _, key := range append(o.Bad, o.Undecided...) {
		path := filepath.Join(t.ArtifactDir(), key+".html")
		if err := o.Visualize(key, path, checkTime); err != nil {
			t.Error(err)
		}
		t.Errorf("no order of calls explains the answers for %s: see %s (kept with go test -artifacts)", key, path)
	}
	for _, wrong := range o.versions[:min(len(o.versions), 20)] {
		t.Errorf("resource versions: %s", wrong)
	}
	if t.Failed() {
		t.FailNow()
	}
}

// spread formats the minimum, the median and the maximum.
func spread[T any](all []T, of func(T) time.Duration) string {
	sorted := slices.SortedFunc(slices.Values(all), func(a, b T) int { return cmp.Compare(of(a), of(b)) })
	round := func(i int) time.Duration { return of(sorted[i]).Round(time.Millisecond) }
	return fmt.Sprintf("min %s, median %s, max %s", round(0), round(len(sorted)/2), round(len(sorted)-1))
}
