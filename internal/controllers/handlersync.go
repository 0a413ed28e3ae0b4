package controllers

import (
	"context"
	"time"

	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/tools/cache"
)

// handlers is an informer that tells when the handlers have seen what was there
// before them. The controller of service accounts waits for that by looking
// every 100 ms, in which the first pod of a new namespace would wait.
type handlers struct {
	cache.SharedIndexInformer
	checkers []cache.DoneChecker
}

func (h *handlers) AddEventHandlerWithResyncPeriod(handler cache.ResourceEventHandler, resync time.Duration) (cache.ResourceEventHandlerRegistration, error) {
	registration, err := h.SharedIndexInformer.AddEventHandlerWithResyncPeriod(handler, resync)
	if err == nil {
		h.checkers = append(h.checkers, registration.HasSyncedChecker())
	}
	return registration, err
}

func (h *handlers) wait(ctx context.Context) { cache.WaitFor(ctx, "", h.checkers...) }

type accountInformer struct {
	coreinformers.ServiceAccountInformer
	handlers handlers
}

func (i *accountInformer) Informer() cache.SharedIndexInformer { return &i.handlers }

type namespaceInformer struct {
	coreinformers.NamespaceInformer
	handlers handlers
}

func (i *namespaceInformer) Informer() cache.SharedIndexInformer { return &i.handlers }
