// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package durable

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"

	"github.com/kubembed/kubembed/internal/e2e/durable/history"
)

const (
	writerCount      = 9
	objectsPerWriter = 16
)

// writer writes its own objects, one after another.
type writer struct {
	log    *history.Log
	random *rand.Rand
	keys   []history.Key
	stamps *atomic.Int64
	// early is a mutant that counts a write as acknowledged, whatever the answer is.
	early bool

	// last are the last known objects, for updates.
	last map[history.Key]*unstructured.Unstructured
	// unsure are the objects whose last write got no answer.
	unsure map[history.Key]bool
}

func newWriter(n int, log *history.Log, stamps *atomic.Int64, seed uint64) *writer {
	w := &writer{log: log, stamps: stamps, random: rand.New(rand.NewPCG(seed, uint64(n)))}
	for i := range objectsPerWriter {
		w.keys = append(w.keys, history.Key{
			Kind: kinds[n%len(kinds)], Namespace: namespaces[(n+i)%len(namespaces)], Name: fmt.Sprintf("written-%d-%d", n, i),
		})
	}
	return w
}

// run writes until stop is closed or the server ends, and calls acknowledged after each
// success.
func (w *writer) run(ctx context.Context, stop <-chan struct{}, client dynamic.Interface, acknowledged func()) {
	w.unsure = map[history.Key]bool{}
	for {
		select {
		case <-stop:
			return
		default:
		}
		key := w.keys[w.random.IntN(len(w.keys))]
		if w.unsure[key] {
			continue
		}
		if err := w.write(ctx, client, key); err == nil {
			acknowledged()
		} else if status := apierrors.APIStatus(nil); !errors.As(err, &status) {
			return // the connection is gone
		}
		if len(w.unsure) == len(w.keys) {
			return
		}
	}
}

// write makes one write of the object and records the answer.
func (w *writer) write(ctx context.Context, client dynamic.Interface, key history.Key) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	objects := client.Resource(resource(key.Kind)).Namespace(key.Namespace)
	before := w.log.State(key)
	if before.Stamp != 0 && w.random.IntN(3) == 0 {
		above := w.log.Begin(key, 0)
		err := objects.Delete(ctx, key.Name, metav1.DeleteOptions{})
		return w.answered(key, above, nil, err)
	}
	stamp := w.stamps.Add(1)
	content := history.Content(stamp, w.size())
	above := w.log.Begin(key, stamp)
	if before.Stamp == 0 {
		o := newObject(key)
		o.SetAnnotations(content)
		o, err := objects.Create(ctx, o, metav1.CreateOptions{})
		return w.answered(key, above, o, err)
	}
	o := w.last[key].DeepCopy()
	o.SetAnnotations(content)
	o, err := objects.Update(ctx, o, metav1.UpdateOptions{})
	return w.answered(key, above, o, err)
}

// size returns a typical size, and sometimes one of many pages of etcd's log.
func (w *writer) size() int {
	if w.random.IntN(100) == 0 {
		return 100 << 10
	}
	return w.random.IntN(3000)
}

// answered records the answer to a write. o is nil for a deletion.
func (w *writer) answered(key history.Key, above uint64, o *unstructured.Unstructured, err error) error {
	switch {
	case err == nil && o == nil:
		w.log.Acknowledged(key, above, 0, "")
		delete(w.last, key)
	case err == nil:
		state, err := stateOf(o)
		if err != nil {
			w.log.Report("an answer: %v", err)
		}
		w.log.Acknowledged(key, above, state.Version, state.UID)
		w.last[key] = o
	case apierrors.IsConflict(err), apierrors.IsNotFound(err), apierrors.IsAlreadyExists(err), apierrors.IsInvalid(err), apierrors.IsForbidden(err):
		w.log.Report("%s: a write of its only writer is refused: %v", key, err)
		w.log.Refused(key)
		w.unsure[key] = true
	case w.early:
		w.log.Acknowledged(key, above, above+1, w.log.State(key).UID)
		w.unsure[key] = true
	default:
		w.unsure[key] = true
	}
	return err
}
