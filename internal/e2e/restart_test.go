// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"net/url"
	"sync"
	"syscall"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

// TestRestartKeepsEverything restarts a control plane on the same directory and address
// while the kubelets keep running.
func TestRestartKeepsEverything(t *testing.T) {
	dataDir := t.TempDir()
	p, server := startServer(t, controlplane.Config{DataDir: dataDir})
	workers := []*worker{startWorker(t, p, "worker1"), startWorker(t, p, "worker2")}
	before := settle(t, p)

	start := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		t.Fatalf("Shutdown: %v", err)
	}
	t.Logf("Shutdown took %v", time.Since(start))

	start = time.Now()
	again, _ := startServer(t, controlplane.Config{DataDir: dataDir, BindAddress: address(t, p)})
	t.Logf("Start took %v", time.Since(start))
	if again.url != p.url {
		t.Fatalf("URL is %s after the restart, was %s", again.url, p.url)
	}
	carryOn(t, p, workers, before) // with the earlier kubeconfig
	again.kubectl(t).ok(t, "get", "nodes")
}

// TestKillKeepsEverythingAcknowledged kills a control plane during writes and restarts
// it: every acknowledged write is there.
func TestKillKeepsEverythingAcknowledged(t *testing.T) {
	dataDir := t.TempDir()
	p, process := startProcessPlane(t, dataDir, "127.0.0.1:0")
	workers := []*worker{startWorker(t, p, "worker1"), startWorker(t, p, "worker2")}
	before := settle(t, p)

	written := written{stored: map[string]types.UID{}, deleted: map[string]bool{}}
	for _, enough := range []int{30, 300, 3000} { // etcd takes a snapshot after some thousand writes
		written.untilKilled(t, p.client(t), process, enough)
		start := time.Now()
		var again plane
		again, process = startProcessPlane(t, dataDir, address(t, p))
		t.Logf("killed after %d writes, ready again after %v", len(written.stored)+len(written.deleted), time.Since(start))
		if again.url != p.url {
			t.Fatalf("URL is %s after the restart, was %s", again.url, p.url)
		}
		written.check(t, p.client(t))
	}
	carryOn(t, p, workers, before)

	process.signal(t, syscall.SIGTERM)
	if code := process.cmd.ProcessState.ExitCode(); code != 0 || process.out.String() != "" {
		t.Errorf("exit code %d after SIGTERM, stderr %q; want 0 and nothing", code, process.out)
	}
}

// written are the acknowledged writes.
type written struct {
	stored  map[string]types.UID
	deleted map[string]bool
}

// untilKilled creates ConfigMaps from several goroutines, deletes some of them, and
// kills the control plane meanwhile.
func (w *written) untilKilled(t *testing.T, client kubernetes.Interface, process *process, enough int) {
	t.Helper()
	const writers = 8
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		done int
		kill = make(chan struct{})
	)
	ok := func(err error) bool {
		mu.Lock()
		defer mu.Unlock()
		if err != nil && done < enough {
			t.Errorf("before the kill: %v", err)
		}
		if done++; done == enough {
			close(kill) // the others continue
		}
		return err == nil
	}
	configMaps := client.CoreV1().ConfigMaps("default")
	for writer := range writers {
		wg.Go(func() {
			for i := 0; ; i++ {
				c := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("written-%d-%d-%d", enough, writer, i)}}
				c, err := configMaps.Create(t.Context(), c, metav1.CreateOptions{})
				if !ok(err) {
					return
				}
				if i%3 > 0 {
					mu.Lock()
					w.stored[c.Name] = c.UID
					mu.Unlock()
					continue
				}
				if !ok(configMaps.Delete(t.Context(), c.Name, metav1.DeleteOptions{})) {
					return
				}
				mu.Lock()
				w.deleted[c.Name] = true
				mu.Unlock()
			}
		})
	}
	select {
	case <-kill:
	case <-process.done:
		t.Error("the control plane ended by itself")
	case <-time.After(time.Minute):
		t.Error("too slow to write")
	}
	process.kill(t)
	wg.Wait()
}

// check compares the stored objects with the acknowledged writes.
func (w *written) check(t *testing.T, client kubernetes.Interface) {
	t.Helper()
	list, err := client.CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]types.UID{}
	for _, c := range list.Items {
		found[c.Name] = c.UID
		if w.deleted[c.Name] {
			t.Errorf("configmap %s is back", c.Name)
		}
	}
	for name, uid := range w.stored {
		if found[name] != uid {
			t.Errorf("configmap %s has UID %q, was acknowledged with %q", name, found[name], uid)
		}
	}
}

// settled is the state of a cluster of two workers.
type settled struct {
	nodes  map[string]types.UID
	pods   map[string]types.UID
	leases map[string]metav1.MicroTime
}

// settle waits for worker1 and worker2, and creates a pod for each and one without a
// node.
func settle(t *testing.T, p plane) settled {
	t.Helper()
	client := p.client(t)
	s := settled{nodes: map[string]types.UID{}, pods: map[string]types.UID{}, leases: map[string]metav1.MicroTime{}}
	k := p.kubectl(t)
	for _, name := range []string{"worker1", "worker2"} {
		s.nodes[name] = waitNode(t, client, name, ready).UID
		k.ok(t, "run", "on-"+name, "--image=nginx:latest", `--overrides={"spec":{"nodeName":"`+name+`"}}`)
	}
	k.ok(t, "apply", "-f", nginxUnbound)
	for _, name := range []string{"on-worker1", "on-worker2"} {
		s.pods[name] = waitPod(t, client, name, running).UID
	}
	s.pods["nginx-unbound"] = waitPod(t, client, "nginx-unbound", func(*corev1.Pod) bool { return true }).UID
	for name := range s.nodes {
		s.leases[name] = *waitLease(t, client, name, renewedAfter(metav1.MicroTime{})).Spec.RenewTime
	}
	return s
}

// carryOn requires the earlier state, and that the workers renew their leases and run
// new pods by themselves.
func carryOn(t *testing.T, p plane, workers []*worker, before settled) {
	t.Helper()
	start := time.Now()
	client := p.client(t)
	for name, uid := range before.nodes {
		node, err := client.CoreV1().Nodes().Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if node.UID != uid {
			t.Errorf("node %s has UID %s, had %s", name, node.UID, uid)
		}
	}
	for name, uid := range before.pods {
		pod, err := client.CoreV1().Pods("default").Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if pod.UID != uid {
			t.Errorf("pod %s has UID %s, had %s", name, pod.UID, uid)
		}
		for _, c := range pod.Status.ContainerStatuses {
			if c.RestartCount != 0 || !c.Ready {
				t.Errorf("container of pod %s: restarted %d times, ready %t", name, c.RestartCount, c.Ready)
			}
		}
	}

	for name, renewed := range before.leases {
		// Twice: one renewal may have been in flight before.
		lease := waitLease(t, client, name, renewedAfter(renewed))
		waitLease(t, client, name, renewedAfter(*lease.Spec.RenewTime))
	}
	t.Logf("leases were renewed after %v", time.Since(start))
	k := p.kubectl(t)
	for _, w := range workers {
		if !w.running() {
			t.Fatalf("the kubelet of %s has ended", w.name)
		}
		k.ok(t, "run", "new-on-"+w.name, "--image=nginx:latest", `--overrides={"spec":{"nodeName":"`+w.name+`"}}`)
	}
	for _, w := range workers {
		waitPod(t, client, "new-on-"+w.name, running)
		wantContainers(t, w, "new-on-"+w.name+"/new-on-"+w.name, "on-"+w.name+"/on-"+w.name)
		waitNode(t, client, w.name, ready)
	}
	t.Logf("new pods ran after %v", time.Since(start))
	wantNodes(t, k, "worker1", "worker2")

	// The workers notice deleted pods.
	k.ok(t, "delete", "pod", "on-worker1", "on-worker2")
	for _, w := range workers {
		wantContainers(t, w, "new-on-"+w.name+"/new-on-"+w.name)
	}
}

// renewedAfter reports whether a Lease was renewed after a time.
func renewedAfter(when metav1.MicroTime) func(*coordinationv1.Lease) bool {
	return func(lease *coordinationv1.Lease) bool {
		return lease.Spec.RenewTime != nil && lease.Spec.RenewTime.After(when.Time)
	}
}

// address returns host:port of a control plane.
func address(t *testing.T, p plane) string {
	t.Helper()
	u, err := url.Parse(p.url)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}
