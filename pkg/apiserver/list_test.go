// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/kubembed/kubembed/internal/testwait"
)

// configMaps makes n of them, called c0, c1 and so on.
func (p *plane) configMaps(t testing.TB, n int) corev1client.ConfigMapInterface {
	t.Helper()
	maps := p.admin().CoreV1().ConfigMaps(p.namespace(t))
	for i := range n {
		must(maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("c%d", i)}}, metav1.CreateOptions{}))(t)
	}
	return maps
}

func names(list *corev1.ConfigMapList) []string {
	var names []string
	for _, item := range list.Items {
		names = append(names, item.Name)
	}
	return names
}

func TestPagination(t *testing.T) {
	p := sharedPlane(t)
	ctx := t.Context()
	maps := p.configMaps(t, 5)
	var got []string
	opts := metav1.ListOptions{Limit: 2}
	for pages := 1; ; pages++ {
		list := must(maps.List(ctx, opts))(t)
		got = append(got, names(list)...)
		if pages == 1 {
			if list.RemainingItemCount == nil || *list.RemainingItemCount != 3 {
				t.Errorf("got %v remaining items, want 3", list.RemainingItemCount)
			}
			// Later pages have the resource version of the first.
			must(maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "c9"}}, metav1.CreateOptions{}))(t)
		}
		if opts.Continue = list.Continue; opts.Continue == "" {
			if pages != 3 {
				t.Errorf("got %d pages, want 3", pages)
			}
			break
		}
	}
	if want := []string{"c0", "c1", "c2", "c3", "c4"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if _, err := maps.List(ctx, metav1.ListOptions{Limit: 2, Continue: "nonsense"}); !apierrors.IsBadRequest(err) {
		t.Errorf("bad continue token: got error %v, want BadRequest", err)
	}
}

func TestListAtResourceVersion(t *testing.T) {
	p := sharedPlane(t)
	ctx := t.Context()
	maps := p.configMaps(t, 2)
	before := must(maps.List(ctx, metav1.ListOptions{}))(t)
	if got := names(before); !slices.Equal(got, []string{"c0", "c1"}) {
		t.Fatalf("got %q, want c0 and c1", got)
	}
	must(maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "c2"}}, metav1.CreateOptions{}))(t)
	exact := must(maps.List(ctx, metav1.ListOptions{ResourceVersion: before.ResourceVersion, ResourceVersionMatch: metav1.ResourceVersionMatchExact}))(t)
	if got := names(exact); !slices.Equal(got, []string{"c0", "c1"}) {
		t.Errorf("at the old version: got %q, want c0 and c1", got)
	}
	now := must(maps.List(ctx, metav1.ListOptions{ResourceVersion: before.ResourceVersion, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan}))(t)
	if got := names(now); len(got) < 2 {
		t.Errorf("not older than: got %q, want two or more", got)
	}
	testwait.Until(t, "any version will do, and in the end it is the latest", func(context.Context) error {
		list, err := maps.List(ctx, metav1.ListOptions{ResourceVersion: "0"})
		if err != nil || len(list.Items) != 3 {
			return fmt.Errorf("got %q, error %w, want three", names(list), err)
		}
		return nil
	})
	// client-go would retry ten times.
	future := p.get(t, "/api/v1/configmaps?resourceVersion=1000000000&resourceVersionMatch=NotOlderThan").want(t, http.StatusGatewayTimeout)
	if !strings.Contains(future.body, "Too large resource version") {
		t.Error(future.body)
	}
}

// TestCompactedResourceVersion needs its own etcd: a compaction affects all tests.
func TestCompactedResourceVersion(t *testing.T) {
	p := startPlane(t)
	ctx := t.Context()
	maps := p.configMaps(t, 1)
	before := must(maps.List(ctx, metav1.ListOptions{Limit: 1}))(t)
	for range 3 {
		patched := must(maps.Get(ctx, "c0", metav1.GetOptions{}))(t)
		patched.Data = map[string]string{"version": patched.ResourceVersion}
		must(maps.Update(ctx, patched, metav1.UpdateOptions{}))(t)
	}
	current := must(p.etcd.Client().Get(ctx, "/"))(t).Header.Revision
	must(p.etcd.Client().Compact(ctx, current, clientv3.WithCompactPhysical()))(t)
	// Events have no watch cache: requests for them go to etcd.
	events := p.admin().CoreV1().Events("default")
	_, err := events.List(ctx, metav1.ListOptions{ResourceVersion: before.ResourceVersion, ResourceVersionMatch: metav1.ResourceVersionMatchExact})
	if !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
		t.Errorf("listing: %v, want 410", err)
	}
	w, err := events.Watch(ctx, metav1.ListOptions{ResourceVersion: before.ResourceVersion})
	if err == nil {
		defer w.Stop()
		event := <-w.ResultChan()
		err = apierrors.FromObject(event.Object)
	}
	if !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
		t.Errorf("watching: %v, want 410", err)
	}
}

func TestWatch(t *testing.T) {
	p := sharedPlane(t)
	ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
	defer cancel()
	maps := p.configMaps(t, 1)
	list := must(maps.List(ctx, metav1.ListOptions{}))(t)
	w := must(maps.Watch(ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion}))(t)
	defer w.Stop()
	must(maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "new"}}, metav1.CreateOptions{}))(t)
	if err := maps.Delete(ctx, "c0", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []watch.EventType{watch.Added, watch.Deleted} {
		if event := <-w.ResultChan(); event.Type != want {
			t.Errorf("%s, want %s: %v", event.Type, want, event.Object)
		}
	}
}

// TestWatchSendInitialEvents tests the streaming list with which client-go's informers
// begin.
func TestWatchSendInitialEvents(t *testing.T) {
	p := sharedPlane(t)
	ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
	defer cancel()
	maps := p.configMaps(t, 3)
	yes := true
	w := must(maps.Watch(ctx, metav1.ListOptions{
		SendInitialEvents: &yes, AllowWatchBookmarks: true, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan,
	}))(t)
	defer w.Stop()
	for i := range 3 {
		if event := <-w.ResultChan(); event.Type != watch.Added {
			t.Fatalf("event %d: got %s, want ADDED", i, event.Type)
		}
	}
	event := <-w.ResultChan()
	bookmark, ok := event.Object.(*corev1.ConfigMap)
	if event.Type != watch.Bookmark || !ok || bookmark.Annotations[metav1.InitialEventsAnnotationKey] != "true" || bookmark.ResourceVersion == "" {
		t.Errorf("after the initial events: got %s %v, want the bookmark of their end", event.Type, event.Object)
	}
}

// TestWatchEndsWithItsTimeout: the server ends watches, otherwise clients would keep one
// forever.
func TestWatchEndsWithItsTimeout(t *testing.T) {
	p := sharedPlane(t)
	ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
	defer cancel()
	one := int64(1)
	w := must(p.configMaps(t, 0).Watch(ctx, metav1.ListOptions{TimeoutSeconds: &one}))(t)
	defer w.Stop()
	if event, open := <-w.ResultChan(); open {
		t.Errorf("got %s %v, want the end of the watch", event.Type, event.Object)
	}
	if ctx.Err() != nil {
		t.Error("the watch ended with the test's timeout, want its own")
	}
}
