// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package attack

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kubembed/kubembed/internal/testwait"
)

// Bounds for the control plane beside memory.
const (
	// descriptorsSpare is the number of descriptors that must stay free for its own
	// files.
	descriptorsSpare = 50
	// logBytesPerSecond bounds its log under all attacks, beside an initial burst.
	logBytesPerSecond, logBytesAtOnce = 50 << 10, 1 << 20
)

// TestAttacks runs all attacks at once.
func TestAttacks(t *testing.T) {
	names := selected(t)
	slices.Sort(names)
	p := startPlane(t)
	c, done := client(p.config(p.Admin))
	defer done()
	kubelet, doneKubelet := client(p.config(p.Nodes[steady]))
	defer doneKubelet()
	if err := register(t.Context(), kubelet, newNode(steady, 10250)); err != nil {
		t.Fatal(err)
	}
	testwait.Until(t, "all nodes are ready", func(ctx context.Context) error { return nodesReady(ctx, c) })

	ctx, cancel := context.WithTimeout(t.Context(), *duration)
	defer cancel()
	go func() { // ends the attacks if the control plane ends
		select {
		case <-p.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	j := &journal{objects: map[string]*written{}}
	var u usage
	var background sync.WaitGroup
	for i := range writers {
		background.Go(func() { j.write(ctx, c, i) })
	}
	background.Go(func() {
		rounds(ctx, time.Second, func() { u.measure(p) })
	})
	background.Go(func() { heartbeats(ctx, t, kubelet) })
	background.Go(func() { watchNodes(ctx, t, c) })
	results := map[string]*stats{}
	var attackers sync.WaitGroup
	for _, name := range names {
		s := &stats{}
		results[name] = s
		attackers.Go(func() { attacks[name](ctx, p.target, s) })
	}
	background.Go(func() { report(ctx, t, j, results) })
	begun := time.Now()
	attackers.Wait()
	attacked := time.Since(begun)
	background.Wait()

	if p.ended() {
		summarize(t, results, j, &u, p)
		t.Fatalf("after %s the process of the control plane ended: %s", attacked.Round(time.Second), p.lastWords())
	}
	recovers(t, p)
	u.measure(p)
	summarize(t, results, j, &u, p)
	for name, s := range results {
		if s.tries.Load() == 0 && *duration >= time.Minute && (name != "full-disk" || p.SnapshotDisk) {
			t.Errorf("%s did not try anything: %s", name, s)
		}
		if s.won.Load() > 0 {
			t.Errorf("%s: %s", name, s)
		}
	}
	if j.acknowledged.Load() == 0 {
		t.Error("no write was acknowledged while the control plane was attacked")
	}
	fresh, doneFresh := client(p.config(p.Admin))
	defer doneFresh()
	list, err := fresh.CoreV1().ConfigMaps(metav1.NamespaceDefault).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if lost := j.lost(list); len(lost) > 0 {
		t.Errorf("%d objects are not as it was acknowledged: %s", len(lost), strings.Join(lost[:min(len(lost), 10)], "; "))
	}
	if u.memory > *memory {
		t.Errorf("it used %d MiB, more than %d", u.memory, *memory)
	}
	if u.descriptors > descriptors-descriptorsSpare {
		t.Errorf("it had %d open files of %d", u.descriptors, descriptors)
	}
	if bound := logBytesAtOnce + logBytesPerSecond*int64(attacked.Seconds()); u.logBytes > bound {
		t.Errorf("it logged %d bytes, more than %d", u.logBytes, bound)
	}
	checkSnapshots(t, p)
	p.stop(t)
}

// recovers waits until the control plane works normally, within the recovery time.
func recovers(t *testing.T, p *plane) {
	t.Helper()
	c, done := client(p.config(p.Admin))
	defer done()
	begin := time.Now()
	testwait.UntilWithin(t, *recovery, "a new client creates, lists and watches, /readyz is green and all nodes are ready", func(ctx context.Context) error {
		if err := useable(ctx, c); err != nil {
			return err
		}
		return nodesReady(ctx, c)
	})
	t.Logf("recovered after %s", time.Since(begin).Round(time.Millisecond))
}

// useable returns an error for the first request of a client that fails.
func useable(ctx context.Context, c kubernetes.Interface) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if text, err := c.CoreV1().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx); err != nil {
		return fmt.Errorf("/readyz: %s %w", text, err)
	}
	all := c.CoreV1().ConfigMaps(metav1.NamespaceDefault)
	list, err := all.List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return fmt.Errorf("list: %w", err)
	}
	watch, err := all.Watch(ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion})
	if err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	defer watch.Stop()
	created, err := all.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "after-"}}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("create: %w", err)
	}
	for event := range watch.ResultChan() {
		if object, ok := event.Object.(*corev1.ConfigMap); ok && object.Name == created.Name {
			return nil
		}
	}
	return fmt.Errorf("watch: %s did not come: %w", created.Name, ctx.Err())
}

// nodesReady returns an error unless the hollow nodes and steady are ready.
func nodesReady(ctx context.Context, c kubernetes.Interface) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	list, err := c.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	ready := 0
	var not []string
	for _, node := range list.Items {
		if !strings.HasPrefix(node.Name, "node-") {
			continue
		}
		for _, condition := range node.Status.Conditions {
			switch {
			case condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue:
				ready++
			case condition.Type == corev1.NodeReady:
				not = append(not, node.Name)
			}
		}
	}
	if ready != hollowNodes+1 {
		return fmt.Errorf("%d of %d are ready, %v are not", ready, hollowNodes+1, not)
	}
	return nil
}

// watchNodes checks the nodes during the attacks. It ignores failed lists.
func watchNodes(ctx context.Context, t *testing.T, c kubernetes.Interface) {
	rounds(ctx, 2*time.Second, func() {
		err := nodesReady(ctx, c)
		if err != nil && strings.Contains(err.Error(), "are ready") {
			t.Errorf("nodes during the attacks: %v", err)
		}
	})
}

// report logs every minute that the test still works.
func report(ctx context.Context, t *testing.T, j *journal, results map[string]*stats) {
	begin := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Minute):
			tries := int64(0)
			for _, s := range results {
				tries += s.tries.Load()
			}
			t.Logf("%s: %d tries, %d writes acknowledged, %d refused", time.Since(begin).Round(time.Second), tries, j.acknowledged.Load(), j.refused.Load())
		}
	}
}

func summarize(t *testing.T, results map[string]*stats, j *journal, u *usage, p *plane) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(results)) {
		t.Logf("%-26s %s", name, results[name])
	}
	messages := u.countLog(p)
	t.Logf("an administrator: %d writes acknowledged (the slowest took %s), %d refused",
		j.acknowledged.Load(), time.Duration(j.slowest.Load()).Round(time.Millisecond), j.refused.Load())
	t.Logf("the control plane: %d MiB at most, %d open files at most, %d lines of log (%d bytes), most of them %v",
		u.memory, u.descriptors, u.logLines, u.logBytes, messages)
}
