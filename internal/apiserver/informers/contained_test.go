// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package informers

import (
	"context"
	"errors"
	"reflect"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientgoinformers "k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"

	"github.com/kubembed/kubembed/internal/testwait"
)

func nameOf(object any) string {
	if configMap, ok := object.(*corev1.ConfigMap); ok {
		return configMap.Name
	}
	return ""
}

// TestContainedFactory: panics of the host's functions are logged with its name, and the
// informer goes on.
func TestContainedFactory(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	client := fake.NewClientset()
	factory := clientgoinformers.NewSharedInformerFactory(client, 0)
	ctx, cancel := context.WithCancel(t.Context())
	defer factory.Shutdown()
	defer cancel()
	contained := Container{Code: "plugin X", Logger: zap.New(core)}.Factory(ctx, factory)
	informer := contained.Core().V1().ConfigMaps().Informer()
	seen := make(chan string, 10)
	fragile := func(object any) {
		if seen <- nameOf(object); nameOf(object) == "bad" {
			panic("a bug of the handler")
		}
	}
	index := func(object any) ([]string, error) {
		switch nameOf(object) {
		case "bad":
			panic("a bug of the index")
		case "worse":
			return nil, errors.New("an error of the index")
		}
		return []string{"all"}, nil
	}
	if err := errors.Join(informer.AddIndexers(cache.Indexers{"first": index}), informer.GetIndexer().AddIndexers(cache.Indexers{"second": index})); err != nil {
		t.Fatal(err)
	}
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: fragile, DeleteFunc: fragile, UpdateFunc: func(_, object any) { fragile(object) }}); err != nil {
		t.Fatal(err)
	}
	if informer.HasSynced() {
		t.Error("it has synced before the start")
	}
	stop := make(chan struct{})
	contained.Start(stop)
	close(stop)          // the informer is not the host's
	contained.Shutdown() // and neither is the factory
	configMaps := client.CoreV1().ConfigMaps("default")
	next := func(want string, err error) {
		t.Helper()
		if got := <-seen; got != want || err != nil {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
	for _, name := range []string{"bad", "worse", "good"} {
		object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}
		testwait.Until(t, "the watch", func(context.Context) error {
			if !informer.HasSynced() {
				return errors.New("not synced")
			}
			return nil
		})
		_, err := configMaps.Create(ctx, object, metav1.CreateOptions{})
		next(name, err)
		_, err = configMaps.Update(ctx, object, metav1.UpdateOptions{})
		next(name, err)
	}
	for _, name := range []string{"first", "second"} {
		if found, err := informer.GetIndexer().ByIndex(name, "all"); err != nil || len(found) != 1 {
			t.Errorf("index %s: got %v, %v, want one object", name, found, err)
		}
	}
	next("bad", configMaps.Delete(ctx, "bad", metav1.DeleteOptions{}))
	panics := map[any]int{}
	for _, entry := range logs.FilterMessage("code of the host panicked").All() {
		panics[entry.ContextMap()["code"]]++
	}
	if panics["plugin X: an event handler"] < 2 || panics[`plugin X: the index "first"`] == 0 || panics[`plugin X: the index "second"`] == 0 {
		t.Errorf("got %v in the log, want the handler and both indexes", panics)
	}
}

// TestContainedFactoryIsComplete looks at the informers of all resources.
func TestContainedFactoryIsComplete(t *testing.T) {
	contained := Container{Logger: zap.NewNop()}.Factory(t.Context(), clientgoinformers.NewSharedInformerFactory(fake.NewClientset(), 0))
	generic, err := contained.ForResource(corev1.SchemeGroupVersion.WithResource("pods"))
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := generic.Informer().(containedInformer); !ok {
		t.Errorf("ForResource: got a %T", generic.Informer())
	}
	resources := 0
	// The methods without arguments lead from groups to versions and to resources.
	var visit func(path string, of reflect.Value)
	visit = func(path string, of reflect.Value) {
		if informer := of.MethodByName("Informer"); informer.IsValid() {
			resources++
			typed := reflect.ValueOf(informer.Call(nil)[0].Interface())
			if _, ok := reflect.TypeAssert[containedInformer](typed.Elem().FieldByName("SharedIndexInformer")); !ok {
				t.Errorf("%s: the informer is not contained", path)
			}
			return
		}
		for i := range of.Type().NumMethod() {
			method := of.Type().Method(i)
			call := of.Method(i)
			if call.Type().NumIn() == 0 && call.Type().NumOut() == 1 && call.Type().Out(0).Kind() == reflect.Interface {
				visit(path+"."+method.Name, call.Call(nil)[0].Elem())
			}
		}
	}
	visit("factory", reflect.ValueOf(&contained).Elem().Elem())
	if resources < 50 {
		t.Errorf("got %d resources, want all", resources)
	}
}
