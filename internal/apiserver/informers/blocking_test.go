// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package informers

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoinformers "k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// TestBlocking verifies that HasSynced of the kinds that writes wait for blocks until the
// informer has synced or the context ends, and that HasSynced of other kinds does not
// block.
func TestBlocking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		synced := make(chan struct{})
		informer := func(example runtime.Object) cache.SharedIndexInformer {
			return Blocking(ctx, clientgoinformers.NewSharedInformerFactory(nil, 0)).InformerFor(example,
				func(kubernetes.Interface, time.Duration) cache.SharedIndexInformer { return syncing{synced: synced} })
		}
		ask := func(informer cache.SharedIndexInformer) chan bool {
			answer := make(chan bool, 1)
			go func() { answer <- informer.HasSynced() }()
			synctest.Wait()
			return answer
		}
		if answer := ask(informer(&corev1.Pod{})); len(answer) == 0 || <-answer {
			t.Error("Pods: HasSynced blocks or returned true, want false at once")
		}
		answer := ask(informer(&networkingv1.ServiceCIDR{}))
		if len(answer) > 0 {
			t.Error("ServiceCIDRs: HasSynced returned before the informer has synced")
		}
		close(synced)
		synctest.Wait()
		if len(answer) == 0 || !<-answer {
			t.Error("ServiceCIDRs: HasSynced blocks or returned false after the informer has synced")
		}
		synced = make(chan struct{})
		answer = ask(informer(&networkingv1.IPAddress{}))
		cancel()
		synctest.Wait()
		if len(answer) == 0 || <-answer {
			t.Error("IPAddresses: HasSynced blocks or returned true after the context has ended")
		}
	})
}

// syncing is an informer that has synced when its channel is closed.
type syncing struct {
	cache.SharedIndexInformer
	synced chan struct{}
}

func (s syncing) HasSynced() bool {
	select {
	case <-s.synced:
		return true
	default:
		return false
	}
}

func (s syncing) HasSyncedChecker() cache.DoneChecker { return s }
func (s syncing) Name() string                        { return "syncing" }
func (s syncing) Done() <-chan struct{}               { return s.synced }
