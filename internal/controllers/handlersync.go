// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"time"

	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/tools/cache"
)

// syncTrackingInformer is an informer with a wait for its handlers to sync. The
// controller of service accounts polls for that every 100 ms, which would delay the first
// pod of a new namespace.
type syncTrackingInformer struct {
	cache.SharedIndexInformer
	checkers []cache.DoneChecker
}

func (i *syncTrackingInformer) AddEventHandlerWithResyncPeriod(handler cache.ResourceEventHandler, resync time.Duration) (cache.ResourceEventHandlerRegistration, error) {
	registration, err := i.SharedIndexInformer.AddEventHandlerWithResyncPeriod(handler, resync)
	if err == nil {
		i.checkers = append(i.checkers, registration.HasSyncedChecker())
	}
	return registration, err
}

func (i *syncTrackingInformer) wait(ctx context.Context) { cache.WaitFor(ctx, "", i.checkers...) }

type accountInformer struct {
	coreinformers.ServiceAccountInformer
	tracking syncTrackingInformer
}

func (i *accountInformer) Informer() cache.SharedIndexInformer { return &i.tracking }

type namespaceInformer struct {
	coreinformers.NamespaceInformer
	tracking syncTrackingInformer
}

func (i *namespaceInformer) Informer() cache.SharedIndexInformer { return &i.tracking }
