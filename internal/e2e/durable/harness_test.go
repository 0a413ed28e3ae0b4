// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package durable

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kubembed/kubembed/internal/e2e/durable/history"
)

// harness crashes a control plane repeatedly, and has the writers and watchers that
// record its answers.
type harness struct {
	t          *testing.T
	dataDir    string
	kubeconfig string
	args       []string // more arguments of the process
	address    string   // after the first start
	http       *http.Client
	client     dynamic.Interface
	random     *rand.Rand
	// crash ends the process. It returns an error if the process had ended before.
	crash func(*process) error

	log      *history.Log
	writers  []*writer
	watchers []*watcher

	cycles   int
	recovery []time.Duration // from a start until the control plane served
	checked  int             // acknowledged states compared
	early    int             // crashes before the control plane served

	halfDeleted int // pods, see finishDeletion
}

func newHarness(t *testing.T, dataDir string) *harness {
	t.Helper()
	n := uint64(*seed)
	if n == 0 {
		n = uint64(time.Now().UnixNano())
	}
	t.Logf("-args -seed=%d", n)
	h := &harness{
		t: t, dataDir: dataDir, kubeconfig: filepath.Join(t.TempDir(), "kubeconfig"),
		random: rand.New(rand.NewPCG(n, n)), log: history.New(), crash: (*process).kill,
	}
	stamps := &atomic.Int64{}
	for i := range writerCount {
		h.writers = append(h.writers, newWriter(i, h.log, stamps, n))
	}
	for i := range 2 * len(kinds) {
		h.watchers = append(h.watchers, &watcher{log: h.log, watch: &history.Watch{Kind: kinds[i%len(kinds)]}})
	}
	return h
}

// spawn starts the process without waiting for it.
func (h *harness) spawn() *process {
	h.t.Helper()
	args := []string{"--data-dir=" + h.dataDir, "--bind-address=" + h.address, "--kubeconfig=" + h.kubeconfig}
	return startProcess(h.t, append(args, h.args...)...)
}

// start starts the process and waits until it serves.
func (h *harness) start() (*process, error) {
	h.t.Helper()
	began := time.Now()
	p := h.spawn()
	at, err := p.ready()
	if err != nil {
		return nil, err
	}
	h.recovery = append(h.recovery, time.Since(began))
	if h.client == nil {
		h.connect(at)
	}
	return p, nil
}

// connect connects to the first start. Later ones have the same address and
// certificates.
func (h *harness) connect(at string) {
	h.t.Helper()
	u, err := url.Parse(at)
	if err != nil {
		h.t.Fatal(err)
	}
	h.address = u.Host
	data, err := os.ReadFile(h.kubeconfig)
	if err != nil {
		h.t.Fatal(err)
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(data)
	if err != nil {
		h.t.Fatal(err)
	}
	config.QPS = -1
	if h.http, err = rest.HTTPClientFor(config); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(h.http.CloseIdleConnections)
	if h.client, err = dynamic.NewForConfigAndClient(config, h.http); err != nil {
		h.t.Fatal(err)
	}
	client, err := kubernetes.NewForConfigAndClient(config, h.http)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, name := range namespaces {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if _, err := client.CoreV1().Namespaces().Create(h.t.Context(), namespace, metav1.CreateOptions{}); err != nil {
			h.t.Fatal(err)
		}
		// Pods need the service account.
		err := wait.PollUntilContextTimeout(h.t.Context(), 10*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
			_, err := client.CoreV1().ServiceAccounts(name).Get(ctx, "default", metav1.GetOptions{})
			return err == nil, nil
		})
		if err != nil {
			h.t.Fatal(err)
		}
	}
}

// check compares the stored objects with the answers.
func (h *harness) check() error {
	lowest := ^uint64(0)
	shown := map[history.Key]history.State{}
	last := map[history.Key]*unstructured.Unstructured{}
	for _, kind := range kinds {
		list, err := h.client.Resource(resource(kind)).List(h.t.Context(), metav1.ListOptions{})
		if err != nil {
			return fmt.Errorf("list %s: %w", kind, err)
		}
		v, err := version(list.GetResourceVersion())
		if err != nil {
			return err
		}
		lowest = min(lowest, v)
		for i := range list.Items {
			o := &list.Items[i]
			key, our := ours(kind, o)
			if !our {
				continue
			}
			state, err := stateOf(o)
			if err != nil {
				h.log.Report("%v", err)
			}
			if o.GetDeletionTimestamp() != nil {
				if err := h.finishDeletion(key, o, state); err != nil {
					return err
				}
				continue
			}
			shown[key], last[key] = state, o
		}
	}
	h.checked += h.log.Check(lowest, shown)
	for _, w := range h.writers {
		w.last = map[history.Key]*unstructured.Unstructured{}
		for _, key := range w.keys {
			if o := last[key]; o != nil {
				w.last[key] = o
			}
		}
	}
	return nil
}

// finishDeletion deletes a pod whose deletion was interrupted. Upstream deletes pods
// with two writes, a mark and the removal, and a crash can come between them.
// Controllers would also remove it, some time later.
func (h *harness) finishDeletion(key history.Key, o *unstructured.Unstructured, state history.State) error {
	if before := h.log.State(key); key.Kind != "pods" || before.Stamp != state.Stamp || before.UID != state.UID {
		h.log.Report("%s: write %d is marked as deleted; it was write %d", key, state.Stamp, before.Stamp)
	}
	h.halfDeleted++
	uid := o.GetUID()
	options := metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}}
	err := h.client.Resource(resource(key.Kind)).Namespace(key.Namespace).Delete(h.t.Context(), key.Name, options)
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("finish the deletion of %s: %w", key, err)
	}
	return nil
}

// cycle starts the control plane, checks it, writes, and crashes it at a random moment:
// sometimes before it serves, otherwise during writes.
func (h *harness) cycle() error {
	h.t.Helper()
	if h.client != nil && h.random.IntN(6) == 0 {
		p := h.spawn()
		select {
		case <-p.done:
		case <-time.After(time.Duration(h.random.IntN(700)) * time.Millisecond):
		}
		h.early++
		if err := h.crash(p); err != nil {
			return err
		}
	}
	p, err := h.start()
	if err != nil {
		return err
	}
	if err := h.check(); err != nil {
		return err
	}
	if h.cycles++; h.cycles%10 == 0 {
		h.checkWatches()
	}
	enough := int64(1 + h.random.IntN(700))
	return h.work(p, func(acks int64) bool { return acks == enough }, h.crash)
}

// work runs writers and watchers until enough returns true for the number of
// acknowledged writes, calls end, and waits for them.
func (h *harness) work(p *process, enough func(int64) bool, end func(*process) error) error {
	ctx, cancel := context.WithCancel(h.t.Context())
	defer cancel()
	var writers, watchers sync.WaitGroup
	var acks atomic.Int64
	now, stop := make(chan struct{}), make(chan struct{})
	for _, w := range h.watchers {
		watchers.Go(func() { w.run(ctx, h.client) })
	}
	for _, w := range h.writers {
		writers.Go(func() {
			w.run(ctx, stop, h.client, func() {
				if enough(acks.Add(1)) {
					close(now) // the others continue
				}
			})
		})
	}
	var err error
	select {
	case <-now:
	case <-p.done:
	case <-time.After(time.Minute):
		err = fmt.Errorf("too slow to write: %d writes in a minute", acks.Load())
	}
	if ended := end(p); ended != nil {
		err = ended
	}
	close(stop)
	writers.Wait()
	cancel()
	watchers.Wait()
	return err
}

// finish starts the control plane once more, lets all watches complete, and compares
// them with the writes.
func (h *harness) finish() error {
	h.t.Helper()
	p, err := h.start()
	if err != nil {
		return err
	}
	if err := h.check(); err != nil {
		return err
	}
	err = h.work(p, func(acks int64) bool { return acks == 300 }, func(*process) error { return nil })
	if err != nil {
		return err
	}
	if err := h.check(); err != nil {
		return err
	}
	if err := h.lastEvents(); err != nil {
		return err
	}
	h.checkWatches()
	return p.kill()
}

// checkWatches compares the events of the watches with the writes. No write may be in
// flight.
func (h *harness) checkWatches() {
	watches := make([]*history.Watch, 0, len(h.watchers))
	for _, w := range h.watchers {
		watches = append(watches, w.watch)
	}
	h.log.CheckWatches(watches...)
}

// lastEvents writes one more object of each kind and waits until the watches have its
// event.
func (h *harness) lastEvents() error {
	ctx, cancel := context.WithTimeout(h.t.Context(), time.Minute)
	defer cancel()
	versions := map[string]uint64{}
	for _, kind := range kinds {
		o := newObject(history.Key{Kind: kind, Namespace: namespaces[0], Name: "last"})
		o, err := h.client.Resource(resource(kind)).Namespace(namespaces[0]).Create(ctx, o, metav1.CreateOptions{})
		if err != nil {
			return err
		}
		if versions[kind], err = version(o.GetResourceVersion()); err != nil {
			return err
		}
	}
	var watchers sync.WaitGroup
	defer watchers.Wait()
	watching, stop := context.WithCancel(ctx)
	defer stop()
	for _, w := range h.watchers {
		watchers.Go(func() { w.run(watching, h.client) })
	}
	return wait.PollUntilContextCancel(ctx, 10*time.Millisecond, true, func(context.Context) (bool, error) {
		return !slices.ContainsFunc(h.watchers, func(w *watcher) bool { return w.version.Load() < versions[w.watch.Kind] }), nil
	})
}

// summary formats the counts for the log.
func (h *harness) summary() string {
	var events, resumed, gone int
	for _, w := range h.watchers {
		events += w.watch.Events()
		resumed += w.watch.Resumed
		gone += w.watch.Gone
	}
	times := slices.Sorted(slices.Values(h.recovery[1:]))
	var median time.Duration
	if len(times) > 0 {
		median = times[len(times)/2].Round(time.Millisecond)
	}
	return fmt.Sprintf("%d acknowledged writes, %d acknowledged states compared after restarts, %d events seen by %d watches (resumed %d times, 410 Gone %d times), %d pods half deleted, %d crashes during the start, median start %s, %d found",
		h.log.Acks(), h.checked, events, len(h.watchers), resumed, gone, h.halfDeleted, h.early, median, len(h.log.Found()))
}

func formatVersion(v uint64) string { return strconv.FormatUint(v, 10) }
