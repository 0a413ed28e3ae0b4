// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	admissionregistrationclient "k8s.io/client-go/kubernetes/typed/admissionregistration/v1"
	"k8s.io/client-go/rest"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

// registrationClient creates and deletes registrations of all kinds.
type registrationClient struct{ admission, aggregator rest.Interface }

func (p *plane) registrationClient() (registrationClient, error) {
	admission, err := admissionregistrationclient.NewForConfig(p.admin())
	if err != nil {
		return registrationClient{}, err
	}
	aggregator, _, err := restClient(p.admin(), apiregistrationv1.SchemeGroupVersion, apiregistrationv1.AddToScheme)
	if err != nil {
		return registrationClient{}, err
	}
	return registrationClient{admission.RESTClient(), aggregator}, nil
}

func (c registrationClient) client(r registration) rest.Interface {
	if r.resource == apiServiceResource {
		return c.aggregator
	}
	return c.admission
}

// validateAll makes the API server validate the registrations without storing them.
func (c registrationClient) validateAll(ctx context.Context, owner string, all []registration) error {
	errs := make([]error, len(all))
	inParallel(len(all), func(i int) {
		dry := all[i]
		dry.object = dry.DeepCopyObject().(object)
		errs[i] = c.create(ctx, owner, dry, metav1.DryRunAll)
	})
	return errors.Join(errs...)
}

// create creates r and sets it to the stored object.
func (c registrationClient) create(ctx context.Context, owner string, r registration, dryRun ...string) error {
	annotations := r.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[installedBy] = owner
	r.SetAnnotations(annotations)
	post := c.client(r).Post().Resource(r.resource.Resource).Body(r.object)
	for _, value := range dryRun {
		post.Param("dryRun", value)
	}
	err := post.Do(ctx).Into(r.object)
	if !apierrors.IsAlreadyExists(err) {
		return wrap(r, err)
	}
	existing := r.DeepCopyObject().(object)
	if c.client(r).Get().Resource(r.resource.Resource).Name(r.GetName()).Do(ctx).Into(existing) == nil {
		if other := existing.GetAnnotations()[installedBy]; other != "" {
			return wrap(r, fmt.Errorf("%s has installed it and still runs: confine it to namespaces (Webhooks.Namespaces), or do not run these tests in parallel", other))
		}
	}
	return wrap(r, err)
}

func wrap(r registration, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", r.from, err)
	}
	return nil
}

// remove deletes r, unless it is deleted or replaced already, and returns when the API
// server's informers have seen the deletion.
func (c registrationClient) remove(ctx context.Context, p *plane, r registration) error {
	watcher, err := c.client(r).Get().Resource(r.resource.Resource).
		Param("watch", "true").
		Param("fieldSelector", "metadata.name="+r.GetName()).
		// Any state will do: the newest one would cost a request to etcd.
		Param("resourceVersion", "0").
		Watch(ctx)
	if err != nil {
		return wrap(r, err)
	}
	defer watcher.Stop()
	uid := r.GetUID()
	err = c.client(r).Delete().Resource(r.resource.Resource).Name(r.GetName()).
		Body(&metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}}).Do(ctx).Error()
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	if err != nil {
		return wrap(r, err)
	}
	for event := range watcher.ResultChan() {
		if event.Type != watch.Deleted {
			continue
		}
		if gone, ok := event.Object.(object); ok && gone.GetUID() == uid {
			return wrap(r, p.server.WaitForInformers(ctx, r.resource, gone.GetResourceVersion()))
		}
	}
	return wrap(r, context.Cause(ctx))
}
