// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
)

// namesGrace is the time for which a name may belong to another CRD, which may be being
// deleted.
const namesGrace = 2 * time.Second

func (c crdClient) waitUntilEstablished(ctx context.Context, crd *apiextensionsv1.CustomResourceDefinition) (*apiextensionsv1.CustomResourceDefinition, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var refused *time.Timer
	return c.waitFor(ctx, crd, "established", func(event watch.EventType, crd *apiextensionsv1.CustomResourceDefinition) (bool, error) {
		if event == watch.Deleted {
			return false, errors.New("was deleted by another client before it was established")
		}
		if names := apihelpers.FindCRDCondition(crd, apiextensionsv1.NamesAccepted); names != nil && names.Status == apiextensionsv1.ConditionFalse && refused == nil {
			refused = time.AfterFunc(namesGrace, func() { cancel(errors.New("another CRD has one of its names")) })
		}
		return apihelpers.IsCRDConditionTrue(crd, apiextensionsv1.Established), nil
	})
}

// waitFor watches the CRD, beginning with crd, until done returns true. The error has the
// last state.
func (c crdClient) waitFor(ctx context.Context, crd *apiextensionsv1.CustomResourceDefinition, what string,
	done func(watch.EventType, *apiextensionsv1.CustomResourceDefinition) (bool, error),
) (*apiextensionsv1.CustomResourceDefinition, error) {
	if ok, err := done(watch.Added, crd); ok || err != nil {
		return crd, err
	}
	stayed := func(err error) error {
		return fmt.Errorf("is not %s: %w%s", what, err, conditions(crd))
	}
	for {
		watcher, err := c.Watch(ctx, metav1.ListOptions{
			FieldSelector:   fields.OneTermEqualSelector(metav1.ObjectNameField, crd.Name).String(),
			ResourceVersion: crd.ResourceVersion,
		})
		if err != nil {
			return nil, stayed(cmp.Or(context.Cause(ctx), err))
		}
		for event := range watcher.ResultChan() {
			next, ok := event.Object.(*apiextensionsv1.CustomResourceDefinition)
			if !ok {
				watcher.Stop()
				err := apierrors.FromObject(event.Object)
				if !apierrors.IsResourceExpired(err) {
					return nil, stayed(cmp.Or(context.Cause(ctx), err))
				}
				// Its resourceVersion is too old.
				if next, err = c.Get(ctx, crd.Name, metav1.GetOptions{}); err != nil {
					return nil, stayed(err)
				}
				event.Type = watch.Modified
			}
			crd = next
			if ok, err := done(event.Type, crd); ok || err != nil {
				watcher.Stop()
				return crd, err
			}
		}
		if ctx.Err() != nil {
			return nil, stayed(context.Cause(ctx))
		}
	}
}

// conditions lists the conditions that a served CRD has with another status.
func conditions(crd *apiextensionsv1.CustomResourceDefinition) string {
	var b strings.Builder
	for _, condition := range crd.Status.Conditions {
		good := apiextensionsv1.ConditionTrue
		if condition.Type == apiextensionsv1.Terminating || condition.Type == apiextensionsv1.NonStructuralSchema {
			good = apiextensionsv1.ConditionFalse
		}
		if condition.Status != good {
			fmt.Fprintf(&b, "; condition %s is %s: %s: %s", condition.Type, condition.Status, condition.Reason, condition.Message)
		}
	}
	return b.String()
}

// waitUntilListed lists every served version. The API server prepares a resource at its
// first request, and fails that request if it cannot.
func (c crdClient) waitUntilListed(ctx context.Context, crd *apiextensionsv1.CustomResourceDefinition) error {
	for _, version := range crd.Spec.Versions {
		if !version.Served {
			continue
		}
		if err := poll(ctx, func() (bool, error) {
			err := c.list(ctx, crd, version.Name)
			// Existing objects may need a conversion webhook that does not run yet.
			return err == nil || conversionWebhook(crd.Spec.Conversion) != nil && !apierrors.IsNotFound(err), err
		}); err != nil {
			return fmt.Errorf("version %s is established but cannot be listed: %w", version.Name, err)
		}
	}
	return nil
}

func (c crdClient) list(ctx context.Context, crd *apiextensionsv1.CustomResourceDefinition, version string) error {
	return c.rest.Get().AbsPath("/apis", crd.Spec.Group, version, crd.Spec.Names.Plural).
		Param("limit", "1").
		SetHeader("Accept", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1").
		Do(ctx).Error()
}

// pollInterval grows from one millisecond to twenty.
var pollInterval = wait.Backoff{Duration: time.Millisecond, Factor: 2, Cap: 20 * time.Millisecond, Steps: 10}

// poll calls done until it returns true, for state that no watch reports. Errors of done
// are retried. When ctx ends, the last of them is part of the error.
func poll(ctx context.Context, done func() (bool, error)) error {
	var last error
	err := pollInterval.DelayFunc().Until(ctx, true, true, func(context.Context) (ok bool, _ error) {
		ok, last = done()
		return ok, nil
	})
	if err != nil {
		return errors.Join(last, context.Cause(ctx))
	}
	return nil
}
