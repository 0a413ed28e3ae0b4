// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// owner is an owner of a ConfigMap.
type owner struct {
	reference metav1.OwnerReference
	get       func() (finalizers []string, deleted bool, err error)
	delete    func(metav1.DeletionPropagation) error
}

// TestOwnerReferences: the three ways to delete an owner, which is a ConfigMap or
// a custom resource. Upstream documents them under "Cascading deletion".
func TestOwnerReferences(t *testing.T) {
	server := start(t, controlplane.Config{})
	client := admin(t, server)
	createWidgets(t, server)
	for kind, create := range map[string]func(t *testing.T, name string) owner{
		"ConfigMap": func(t *testing.T, name string) owner { return ownerConfigMap(t, client, name) },
		"Widget":    func(t *testing.T, name string) owner { return ownerWidget(t, server, name) },
	} {
		t.Run(kind, func(t *testing.T) {
			prefix := strings.ToLower(kind)
			t.Run("background", func(t *testing.T) {
				o := create(t, prefix+"-background")
				dependent(t, client, prefix+"-background-dependent", o, nil)
				if err := o.delete(metav1.DeletePropagationBackground); err != nil {
					t.Fatal(err)
				}
				if _, _, err := o.get(); isGone(err) != nil {
					t.Errorf("the owner: got error %v, want not found", err)
				}
				wantDependentGone(t, client, prefix+"-background-dependent")
			})
			t.Run("foreground", func(t *testing.T) {
				o := create(t, prefix+"-foreground")
				// A finalizer keeps the dependent, and so the owner, for a while.
				name := prefix + "-foreground-dependent"
				dependent(t, client, name, o, []string{"example.com/wait"})
				if err := o.delete(metav1.DeletePropagationForeground); err != nil {
					t.Fatal(err)
				}
				testwait.Until(t, "the dependent's deletion", func(context.Context) error {
					d, err := client.CoreV1().ConfigMaps("default").Get(t.Context(), name, metav1.GetOptions{})
					if err != nil || d.DeletionTimestamp == nil {
						return unexpected(d, err)
					}
					return nil
				})
				finalizers, deleted, err := o.get()
				if err != nil || !deleted || len(finalizers) != 1 || finalizers[0] != metav1.FinalizerDeleteDependents {
					t.Errorf("the owner: got finalizers %v, deleted %v, error %v, want it to wait with %s", finalizers, deleted, err, metav1.FinalizerDeleteDependents)
				}
				if _, err := client.CoreV1().ConfigMaps("default").Patch(t.Context(), name, types.MergePatchType,
					[]byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
					t.Fatal(err)
				}
				wantDependentGone(t, client, name)
				testwait.Until(t, "the owner", func(context.Context) error {
					_, _, err := o.get()
					return isGone(err)
				})
			})
			t.Run("orphan", func(t *testing.T) {
				o := create(t, prefix+"-orphan")
				name := prefix + "-orphan-dependent"
				dependent(t, client, name, o, nil)
				if err := o.delete(metav1.DeletePropagationOrphan); err != nil {
					t.Fatal(err)
				}
				testwait.Until(t, "the owner", func(context.Context) error {
					_, _, err := o.get()
					return isGone(err)
				})
				d, err := client.CoreV1().ConfigMaps("default").Get(t.Context(), name, metav1.GetOptions{})
				if err != nil || d.DeletionTimestamp != nil || len(d.OwnerReferences) != 0 {
					t.Errorf("the orphan: got %+v, %v, want it without owners", d, err)
				}
			})
		})
	}
}

// TestOrphansOfAMomentAgo verifies that dependents survive whose owner is deleted at
// once. The garbage collector watches owners and dependents apart.
func TestOrphansOfAMomentAgo(t *testing.T) {
	server := start(t, controlplane.Config{})
	client := admin(t, server)
	createWidgets(t, server)
	orphan := func(o owner, check func() (metav1.Object, error)) error {
		if err := o.delete(metav1.DeletePropagationOrphan); err != nil {
			return err
		}
		testwait.Until(t, "the owner", func(context.Context) error {
			_, _, err := o.get()
			return isGone(err)
		})
		d, err := check()
		if err == nil && (d.GetDeletionTimestamp() != nil || len(d.GetOwnerReferences()) != 0) {
			err = fmt.Errorf("got %v, want no owners", d)
		}
		return err
	}
	for i := range 300 {
		o := ownerWidget(t, server, fmt.Sprint("owner-", i))
		name := fmt.Sprint("dependent-", i)
		dependent(t, client, name, o, nil)
		if err := orphan(o, func() (metav1.Object, error) {
			return client.CoreV1().ConfigMaps("default").Get(t.Context(), name, metav1.GetOptions{})
		}); err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
	}
	dynamicClient, err := dynamic.NewForConfig(server.ClientConfig())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		definition := widgetDefinition.DeepCopy()
		definition.Spec.Names = apiextensionsv1.CustomResourceDefinitionNames{Plural: fmt.Sprint("gadget", i, "s"), Kind: fmt.Sprint("Gadget", i)}
		definition.Name = definition.Spec.Names.Plural + "." + definition.Spec.Group
		if err := define(t.Context(), server.ClientConfig(), definition); err != nil {
			t.Fatal(err)
		}
		gadgets := dynamicClient.Resource(widgetResource.GroupVersion().WithResource(definition.Spec.Names.Plural)).Namespace("default")
		o := ownerConfigMap(t, client, fmt.Sprint("owner-", i))
		gadget := newWidget("dependent")
		gadget.SetKind(definition.Spec.Names.Kind)
		gadget.SetOwnerReferences([]metav1.OwnerReference{o.reference})
		if _, err := gadgets.Create(t.Context(), gadget, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := orphan(o, func() (metav1.Object, error) { return gadgets.Get(t.Context(), gadget.GetName(), metav1.GetOptions{}) }); err != nil {
			t.Fatalf("a dependent of a new kind, round %d: %v", i, err)
		}
	}
}

func ownerConfigMap(t *testing.T, client kubernetes.Interface, name string) owner {
	t.Helper()
	maps := client.CoreV1().ConfigMaps("default")
	o, err := maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return owner{
		reference: metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: name, UID: o.UID},
		get: func() ([]string, bool, error) {
			o, err := maps.Get(t.Context(), name, metav1.GetOptions{})
			if err != nil {
				return nil, false, err
			}
			return o.Finalizers, o.DeletionTimestamp != nil, nil
		},
		delete: func(how metav1.DeletionPropagation) error {
			return maps.Delete(t.Context(), name, metav1.DeleteOptions{PropagationPolicy: &how})
		},
	}
}

func ownerWidget(t *testing.T, server *controlplane.Server, name string) owner {
	t.Helper()
	all := widgets(t, server)
	o, err := all.Create(t.Context(), newWidget(name), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return owner{
		reference: metav1.OwnerReference{APIVersion: "example.com/v1", Kind: "Widget", Name: name, UID: o.GetUID()},
		get: func() ([]string, bool, error) {
			o, err := all.Get(t.Context(), name, metav1.GetOptions{})
			if err != nil {
				return nil, false, err
			}
			return o.GetFinalizers(), o.GetDeletionTimestamp() != nil, nil
		},
		delete: func(how metav1.DeletionPropagation) error {
			return all.Delete(t.Context(), name, metav1.DeleteOptions{PropagationPolicy: &how})
		},
	}
}

// dependent creates a ConfigMap that belongs to an owner.
func dependent(t *testing.T, client kubernetes.Interface, name string, o owner, finalizers []string) {
	t.Helper()
	reference := o.reference
	reference.BlockOwnerDeletion = new(true)
	_, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Name: name, OwnerReferences: []metav1.OwnerReference{reference}, Finalizers: finalizers}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

func wantDependentGone(t *testing.T, client kubernetes.Interface, name string) {
	t.Helper()
	testwait.Until(t, name, func(context.Context) error {
		_, err := client.CoreV1().ConfigMaps("default").Get(t.Context(), name, metav1.GetOptions{})
		return isGone(err)
	})
}
