// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package effects

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"
)

// trial is one trial of an effect. Its methods do nothing after the first error, which
// the trial keeps.
type trial struct {
	*client
	ctx             context.Context
	cancel          context.CancelFunc
	namespace, name string // name is unique in the effect
	pause           time.Duration
	began           time.Time
	delay           time.Duration
	err             error
	cleanups        []func(context.Context) error
}

func (c *client) newTrial(ctx context.Context, namespace, name string) *trial {
	t := &trial{client: c, namespace: namespace, name: name}
	if name == "shared" {
		t.ctx, t.cancel = context.WithCancel(ctx)
	} else {
		t.ctx, t.cancel = context.WithTimeout(ctx, trialTimeout)
	}
	return t
}

// fail keeps the first error.
func (t *trial) fail(err error) {
	if t.err == nil {
		t.err = err
	}
}

// undo removes the objects of the trial, the last one first.
func (t *trial) undo() error {
	t.cancel()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.ctx), trialTimeout)
	defer cancel()
	var errs []error
	for _, cleanup := range slices.Backward(t.cleanups) {
		errs = append(errs, cleanup(ctx))
	}
	return errors.Join(errs...)
}

// cleanup calls f at the end.
func (t *trial) cleanup(f func(context.Context) error) { t.cleanups = append(t.cleanups, f) }

// rest makes the pause of the trial, unless it was made.
func (t *trial) rest() {
	if t.err != nil {
		return
	}
	select {
	case <-time.After(t.pause):
		t.pause = 0
	case <-t.ctx.Done():
		t.fail(t.ctx.Err())
	}
}

// begin starts the delay, after a pause: the request comes next.
func (t *trial) begin() {
	t.rest()
	t.began = time.Now()
}

// seen ends the delay. A later call replaces an earlier one.
func (t *trial) seen() { t.delay = time.Since(t.began) }

// create creates an object of the trial, and removes it at the end.
func (t *trial) create(r resource, name, body string, args ...any) *unstructured.Unstructured {
	if t.err != nil {
		return &unstructured.Unstructured{}
	}
	object, err := r.object(name, fmt.Sprintf(body, args...))
	if err == nil {
		object, err = t.of(r, t.namespace).Create(t.ctx, object, metav1.CreateOptions{})
	}
	if err != nil {
		t.fail(fmt.Errorf("create %s %s: %w", r.kind, name, err))
		return &unstructured.Unstructured{}
	}
	objects := t.of(r, t.namespace)
	t.cleanup(func(ctx context.Context) error {
		return ignoreNotFound(objects.Delete(ctx, name, metav1.DeleteOptions{}))
	})
	return object
}

// dryRun asks whether an object could be created, and returns what would be stored.
func (t *trial) dryRun(r resource, name, body string) (*unstructured.Unstructured, error) {
	object, err := r.object(name, body)
	if err != nil {
		return nil, err
	}
	return t.of(r, t.namespace).Create(t.ctx, object, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
}

// patch changes an object by a merge patch in YAML.
func (t *trial) patch(r resource, name, patch string, subresources ...string) *unstructured.Unstructured {
	if t.err != nil {
		return &unstructured.Unstructured{}
	}
	data, err := yaml.YAMLToJSON([]byte(patch))
	var object *unstructured.Unstructured
	if err == nil {
		object, err = t.of(r, t.namespace).Patch(t.ctx, name, types.MergePatchType, data, metav1.PatchOptions{}, subresources...)
	}
	if err != nil {
		t.fail(fmt.Errorf("patch %s %s: %w", r.kind, name, err))
		return &unstructured.Unstructured{}
	}
	return object
}

// delete deletes an object, with background propagation unless policy differs.
func (t *trial) delete(r resource, name string, policy metav1.DeletionPropagation) {
	if t.err != nil {
		return
	}
	if err := t.of(r, t.namespace).Delete(t.ctx, name, metav1.DeleteOptions{PropagationPolicy: &policy}); err != nil {
		t.fail(fmt.Errorf("delete %s %s: %w", r.kind, name, err))
	}
}

// repeat sends a request without pause until it reports the effect.
func (t *trial) repeat(request func() (effective bool, err error)) {
	for t.err == nil {
		effective, err := request()
		switch {
		case err != nil:
			t.fail(err)
		case t.ctx.Err() != nil:
			t.fail(fmt.Errorf("the repeated request has no effect: %w", t.ctx.Err()))
		case effective:
			t.seen()
			return
		}
	}
}

// removed deletes an object with its dependents and waits until it is gone, so that the
// next trial finds a quiet control plane.
func (t *trial) removed(r resource, name string) {
	t.unmeasured(func() {
		gone := t.watch(r, name)
		t.delete(r, name, metav1.DeletePropagationForeground)
		gone.deleted()
	})
}

// unmeasured calls f, which waits for other effects.
func (t *trial) unmeasured(f func()) {
	delay := t.delay
	f()
	t.delay = delay
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
