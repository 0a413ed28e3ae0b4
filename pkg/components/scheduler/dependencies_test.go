// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package scheduler_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/typed/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	configv1 "k8s.io/kube-scheduler/config/v1"
	fwk "k8s.io/kube-scheduler/framework"
	frameworkruntime "k8s.io/kubernetes/pkg/scheduler/framework/runtime"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/components/scheduler"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// gate is a plugin that rejects all pods until it is open. It has pods scheduled again
// when a widget, a custom resource, is created.
type gate struct{ open *atomic.Bool }

func (gate) Name() string { return "Gate" }

func (g gate) Filter(context.Context, fwk.CycleState, *corev1.Pod, fwk.NodeInfo) *fwk.Status {
	if !g.open.Load() {
		return fwk.NewStatus(fwk.Unschedulable, "no widget yet")
	}
	return nil
}

func (gate) EventsToRegister(context.Context) ([]fwk.ClusterEventWithHint, error) {
	return []fwk.ClusterEventWithHint{{Event: fwk.ClusterEvent{Resource: "widgets.v1.example.com", ActionType: fwk.Add}}}, nil
}

func newGate(open *atomic.Bool) *scheduler.Scheduler {
	return scheduler.New(scheduler.Config{
		Configuration: &configv1.KubeSchedulerConfiguration{Profiles: []configv1.KubeSchedulerProfile{{
			Plugins: &configv1.Plugins{Filter: configv1.PluginSet{Enabled: []configv1.Plugin{{Name: "Gate"}}}},
		}}},
		Plugins: frameworkruntime.Registry{"Gate": func(context.Context, runtime.Object, fwk.Handle) (fwk.Plugin, error) { return gate{open}, nil }},
	})
}

func TestPluginReceivesCustomResourceEvents(t *testing.T) {
	config, client := start(t, controlplane.Config{})
	createWidgetCRD(t, config)
	createNode(t, client, newNode("a", "8"))
	var open atomic.Bool
	stop := run(t, config, newGate(&open))
	createPod(t, client, newPod("pod", "1"))
	untilPod(t, client, "pod", func(pod *corev1.Pod) bool {
		return len(pod.Status.Conditions) > 0 && strings.Contains(pod.Status.Conditions[0].Message, "no widget yet")
	})

	open.Store(true)
	widgets, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	widget := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "example.com/v1", "kind": "Widget", "metadata": map[string]any{"name": "first"},
	}}
	resource := schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "widgets"}
	if _, err := widgets.Resource(resource).Namespace("default").Create(t.Context(), widget, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	nodeOf(t, client, "pod")
	stop()
}

func TestRunErrorNamesUnsyncedCustomResource(t *testing.T) {
	config, _ := start(t, controlplane.Config{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	err := newGate(new(atomic.Bool)).Run(ctx, config, func() { t.Error("ready") })
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "example.com/v1, Resource=widgets, which a plugin wants") {
		t.Errorf("Run: got %v, want an error that names the resource", err)
	}
}

// createWidgetCRD creates a CRD and waits until it is established.
func createWidgetCRD(t *testing.T, config *rest.Config) {
	t.Helper()
	client, err := apiextensionsclient.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	crd := &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "widgets.example.com"},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "example.com",
			Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "widgets", Singular: "widget", Kind: "Widget", ListKind: "WidgetList"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: "v1", Served: true, Storage: true,
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object"}},
			}},
		},
	}
	if _, err := client.CustomResourceDefinitions().Create(t.Context(), crd, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	testwait.Until(t, "the CRD is established", func(ctx context.Context) error {
		crd, err := client.CustomResourceDefinitions().Get(ctx, crd.Name, metav1.GetOptions{})
		if err == nil && !apihelpers.IsCRDConditionTrue(crd, apiextensionsv1.Established) {
			err = fmt.Errorf("conditions %v", crd.Status.Conditions)
		}
		return err
	})
}
