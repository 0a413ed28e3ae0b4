// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/typed/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

func checkpoint(t testing.TB, server *controlplane.Server) *controlplane.Checkpoint {
	t.Helper()
	saved, err := server.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return saved
}

func restore(t testing.TB, saved *controlplane.Checkpoint) {
	t.Helper()
	if err := saved.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestRollbackRestoresObjects: deleted objects are put back unchanged, custom resources
// with their CRD.
func TestRollbackRestoresObjects(t *testing.T) {
	t.Parallel()
	server := start(t, controlplane.Config{})
	client := admin(t, server)
	createWidgets(t, server)
	widget, err := widgets(t, server).Create(t.Context(), newWidget("kept"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	before, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kept"}, Data: map[string]string{"k": "v"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	saved := checkpoint(t, server)

	definitions, err := apiextensionsclient.NewForConfig(server.ClientConfig())
	if err != nil {
		t.Fatal(err)
	}
	if err := definitions.CustomResourceDefinitions().Delete(t.Context(), "widgets.example.com", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := client.CoreV1().ConfigMaps("default").Delete(t.Context(), "kept", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kept"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	restore(t, saved)

	again, err := widgets(t, server).Get(t.Context(), "kept", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if again.GetUID() != widget.GetUID() {
		t.Errorf("UID of the widget: got %s, want %s", again.GetUID(), widget.GetUID())
	}
	after, err := client.CoreV1().ConfigMaps("default").Get(t.Context(), "kept", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if after.UID != before.UID || after.Data["k"] != "v" {
		t.Errorf("config map: got UID %s and %v, want UID %s and k=v", after.UID, after.Data, before.UID)
	}
	if _, err := widgets(t, server).Create(t.Context(), newWidget("new"), metav1.CreateOptions{}); err != nil {
		t.Errorf("a restored CRD does not work: %v", err)
	}
}

// TestRollbackIsSeenByWatches: watches continue, and report the deletion and the creation
// of a replaced object.
func TestRollbackIsSeenByWatches(t *testing.T) {
	t.Parallel()
	server := start(t, controlplane.Config{})
	configMaps := admin(t, server).CoreV1().ConfigMaps("default")
	for _, name := range []string{"a-changed", "b-replaced", "c-gone"} {
		if _, err := configMaps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	saved := checkpoint(t, server)
	if _, err := configMaps.Patch(t.Context(), "a-changed", types.MergePatchType, []byte(`{"data":{"k":"v"}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"b-replaced", "c-gone"} {
		if err := configMaps.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"b-replaced", "d-new"} {
		if _, err := configMaps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	list, err := configMaps.List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	events, err := configMaps.Watch(t.Context(), metav1.ListOptions{ResourceVersion: list.ResourceVersion})
	if err != nil {
		t.Fatal(err)
	}
	defer events.Stop()
	restore(t, saved)
	if _, err := configMaps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "last"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	for event := range events.ResultChan() {
		object, ok := event.Object.(*corev1.ConfigMap)
		if !ok {
			t.Fatalf("got %s %v, want an event of a ConfigMap", event.Type, event.Object)
		}
		if object.Name == "last" {
			break
		}
		seen[object.Name] += string(event.Type) + " "
	}
	for name, want := range map[string]string{"a-changed": "MODIFIED ", "b-replaced": "DELETED ADDED ", "c-gone": "ADDED ", "d-new": "DELETED "} {
		if seen[name] != want {
			t.Errorf("events of %s: got %q, want %q", name, seen[name], want)
		}
	}
}

// TestRollbackNamesKeysThatKeepChanging: the error names the keys of a writer that does
// not stop.
func TestRollbackNamesKeysThatKeepChanging(t *testing.T) {
	t.Parallel()
	server := start(t, controlplane.Config{})
	saved := checkpoint(t, server)
	client := admin(t, server)
	ctx, stop := context.WithCancel(t.Context())
	var writer sync.WaitGroup
	defer writer.Wait()
	defer stop()
	for i := range 4 {
		writer.Go(func() {
			for ctx.Err() == nil {
				_, _ = client.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("busy-", i)}}, metav1.CreateOptions{})
			}
		})
	}
	// A rollback may end between two writes, or before it has found one.
	var err error
	for limit := 300 * time.Millisecond; t.Context().Err() == nil; limit *= 2 {
		ctx, cancel := context.WithTimeoutCause(t.Context(), limit, errors.New("enough"))
		err = saved.Rollback(ctx)
		cancel()
		if err != nil && strings.Contains(err.Error(), "busy-") {
			break
		}
	}
	if err == nil || !strings.Contains(err.Error(), "/registry/configmaps/default/busy-") || !strings.Contains(err.Error(), "enough") {
		t.Errorf(`Restore: got %v, want an error that names a key and says "enough"`, err)
	}
	stop()
	writer.Wait()
	restore(t, saved)
	for i := range 4 {
		if _, err := client.CoreV1().ConfigMaps("default").Get(t.Context(), fmt.Sprint("busy-", i), metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("after Restore: got %v, want not found", err)
		}
	}
}

// TestCheckpointsAreIndependent: two checkpoints do not affect each other.
func TestCheckpointsAreIndependent(t *testing.T) {
	t.Parallel()
	server := start(t, controlplane.Config{})
	client := admin(t, server).CoreV1().ConfigMaps("default")
	first := checkpoint(t, server)
	create := func(name string) {
		t.Helper()
		if _, err := client.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	want := func(name string, there bool) {
		t.Helper()
		if _, err := client.Get(t.Context(), name, metav1.GetOptions{}); apierrors.IsNotFound(err) == there {
			t.Errorf("%s: got error %v, want found: %t", name, err, there)
		}
	}
	create("a")
	second := checkpoint(t, server)
	create("b")
	restore(t, first)
	want("a", false)
	restore(t, second)
	want("a", true)
	want("b", false)
	restore(t, first)
	restore(t, first)
	want("a", false)
}

func TestRollbackAfterClose(t *testing.T) {
	t.Parallel()
	server, err := controlplane.Start(t.Context(), controlplane.Config{})
	if err != nil {
		t.Fatal(err)
	}
	saved := checkpoint(t, server)
	closeServer(t, server)
	if err := saved.Rollback(t.Context()); err == nil {
		t.Error("Rollback after Close: got no error, want one")
	}
	if _, err := server.Checkpoint(t.Context()); err == nil {
		t.Error("Checkpoint after Close: got no error, want one")
	}
}

// TestRollbackWhileCRDIsDeleted: the custom resources were missing when upstream's
// finalizer took more than a second, as on a busy machine. Here a custom resource with a
// finalizer makes it take that long.
func TestRollbackWhileCRDIsDeleted(t *testing.T) { // not parallel: it counts goroutines
	server := start(t, controlplane.Config{})
	createWidgets(t, server)
	for i := range 20 {
		if _, err := widgets(t, server).Create(t.Context(), newWidget(fmt.Sprintf("kept-%d", i)), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	saved := checkpoint(t, server)
	held := newWidget("held")
	held.SetFinalizers([]string{"example.com/held"})
	if _, err := widgets(t, server).Create(t.Context(), held, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	crds, err := apiextensionsclient.NewForConfig(server.ClientConfig())
	if err != nil {
		t.Fatal(err)
	}
	definitions := crds.CustomResourceDefinitions()
	if err := definitions.Delete(t.Context(), "widgets.example.com", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	restore(t, saved)
	crd, err := definitions.Get(t.Context(), "widgets.example.com", metav1.GetOptions{})
	if err != nil || crd.DeletionTimestamp != nil {
		t.Fatalf("CRD: got %+v, %v, want one that nothing deletes", crd, err)
	}
	// The finalizer has ended: it does not delete the CRD after the rollback.
	list, err := widgets(t, server).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 20 {
		t.Errorf("%d widgets are there, want 20: %v", len(list.Items), err)
	}
	if n := stacks(t, "finalizer.(*CRDFinalizer).deleteInstances"); n != 0 {
		t.Errorf("running finalizers: got %d, want 0", n)
	}
}
