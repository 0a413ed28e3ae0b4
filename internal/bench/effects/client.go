// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package effects

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"
)

// client is an administrator's client without a rate limit. It knows no types, so that
// one piece of code creates and watches all objects.
type client struct {
	config  *rest.Config
	dynamic dynamic.Interface
	typed   kubernetes.Interface
}

func newClient(config *rest.Config) (*client, error) {
	c := &client{config: rest.CopyConfig(config)}
	c.config.QPS = -1
	c.config.WarningHandler = rest.NoWarnings{}
	var err error
	if c.dynamic, err = dynamic.NewForConfig(c.config); err != nil {
		return nil, err
	}
	c.typed, err = kubernetes.NewForConfig(c.config)
	return c, err
}

// try runs a trial that is not measured.
func (c *client) try(ctx context.Context, namespace, name string, try func(*trial)) error {
	t := c.newTrial(ctx, namespace, name)
	try(t)
	err := t.err
	if undoErr := t.undo(); err == nil {
		err = undoErr
	}
	if err != nil {
		return fmt.Errorf("effects: %s: %w", name, err)
	}
	return nil
}

// resource is a kind of object.
type resource struct {
	version, plural, kind string
	cluster               bool // not in a namespace
}

var (
	namespaces         = resource{"v1", "namespaces", "Namespace", true}
	nodes              = resource{"v1", "nodes", "Node", true}
	podResource        = resource{"v1", "pods", "Pod", false}
	configMaps         = resource{"v1", "configmaps", "ConfigMap", false}
	secrets            = resource{"v1", "secrets", "Secret", false}
	serviceAccounts    = resource{"v1", "serviceaccounts", "ServiceAccount", false}
	serviceResource    = resource{"v1", "services", "Service", false}
	resourceQuotas     = resource{"v1", "resourcequotas", "ResourceQuota", false}
	endpointSlices     = resource{"discovery.k8s.io/v1", "endpointslices", "EndpointSlice", false}
	deployments        = resource{"apps/v1", "deployments", "Deployment", false}
	statefulSets       = resource{"apps/v1", "statefulsets", "StatefulSet", false}
	daemonSets         = resource{"apps/v1", "daemonsets", "DaemonSet", false}
	jobResource        = resource{"batch/v1", "jobs", "Job", false}
	cronJobs           = resource{"batch/v1", "cronjobs", "CronJob", false}
	budgets            = resource{"policy/v1", "poddisruptionbudgets", "PodDisruptionBudget", false}
	autoscalers        = resource{"autoscaling/v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", false}
	roles              = resource{"rbac.authorization.k8s.io/v1", "roles", "Role", false}
	roleBindings       = resource{"rbac.authorization.k8s.io/v1", "rolebindings", "RoleBinding", false}
	clusterRoles       = resource{"rbac.authorization.k8s.io/v1", "clusterroles", "ClusterRole", true}
	requests           = resource{"certificates.k8s.io/v1", "certificatesigningrequests", "CertificateSigningRequest", true}
	apiServices        = resource{"apiregistration.k8s.io/v1", "apiservices", "APIService", true}
	crds               = resource{"apiextensions.k8s.io/v1", "customresourcedefinitions", "CustomResourceDefinition", true}
	validatingPolicies = resource{"admissionregistration.k8s.io/v1", "validatingadmissionpolicies", "ValidatingAdmissionPolicy", true}
	validatingBindings = resource{"admissionregistration.k8s.io/v1", "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", true}
	mutatingPolicies   = resource{"admissionregistration.k8s.io/v1", "mutatingadmissionpolicies", "MutatingAdmissionPolicy", true}
	mutatingBindings   = resource{"admissionregistration.k8s.io/v1", "mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding", true}
	validatingWebhooks = resource{"admissionregistration.k8s.io/v1", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration", true}
)

// object returns an object of the kind. body is the rest of its YAML.
func (r resource) object(name, body string) (*unstructured.Unstructured, error) {
	object := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(body), &object.Object); err != nil {
		return nil, err
	}
	if object.Object == nil {
		object.Object = map[string]any{}
	}
	object.SetAPIVersion(r.version)
	object.SetKind(r.kind)
	object.SetName(name)
	return object, nil
}

// of returns the objects of a kind in a namespace, if they are in namespaces.
func (c *client) of(r resource, namespace string) dynamic.ResourceInterface {
	version, _ := schema.ParseGroupVersion(r.version) // all of them are valid
	objects := c.dynamic.Resource(version.WithResource(r.plural))
	if r.cluster {
		return objects
	}
	return objects.Namespace(namespace)
}

// watched is an open watch. The server has it when the client has it.
type watched struct {
	t      *trial
	what   string
	events watch.Interface
}

// watch watches an object, or all objects of the kind without a name, from the present
// state on.
func (t *trial) watch(r resource, name string) *watched {
	return t.watchIn(t.namespace, r, name)
}

func (t *trial) watchIn(namespace string, r resource, name string) *watched {
	options := metav1.ListOptions{}
	if name != "" {
		options.FieldSelector = fields.OneTermEqualSelector("metadata.name", name).String()
	}
	return t.watchSome(namespace, r, options, name)
}

// watchPods watches the pods of an app.
func (t *trial) watchPods(app string) *watched {
	return t.watchSome(t.namespace, podResource, metav1.ListOptions{LabelSelector: "app=" + app}, "of "+app)
}

func (t *trial) watchSome(namespace string, r resource, options metav1.ListOptions, name string) *watched {
	w := &watched{t: t, what: r.kind + " " + name}
	if t.err != nil {
		return w
	}
	events, err := t.of(r, namespace).Watch(t.ctx, options)
	if err != nil {
		t.fail(fmt.Errorf("watch %s: %w", w.what, err))
		return w
	}
	w.events = events
	t.cleanup(func(context.Context) error { events.Stop(); return nil })
	return w
}

// until waits for an object for which the condition holds.
func (w *watched) until(condition func(*unstructured.Unstructured) bool) {
	w.wait(func(event watch.EventType, object *unstructured.Unstructured) bool {
		return event != watch.Deleted && condition(object)
	})
}

// exists waits for any object.
func (w *watched) exists() { w.until(func(*unstructured.Unstructured) bool { return true }) }

// deleted waits for the deletion of an object.
func (w *watched) deleted() {
	w.wait(func(event watch.EventType, _ *unstructured.Unstructured) bool { return event == watch.Deleted })
}

func (w *watched) wait(effective func(watch.EventType, *unstructured.Unstructured) bool) {
	if w.t.err != nil {
		return
	}
	var last any
	for {
		select {
		case <-w.t.ctx.Done():
			w.t.fail(fmt.Errorf("watch of %s: %w; the last event is %v", w.what, w.t.ctx.Err(), last))
			return
		case event, ok := <-w.events.ResultChan():
			object, isObject := event.Object.(*unstructured.Unstructured)
			if !ok || event.Type == watch.Error || !isObject {
				w.t.fail(fmt.Errorf("watch of %s ended: %v", w.what, event.Object))
				return
			}
			if last = event; effective(event.Type, object) {
				w.t.seen()
				return
			}
		}
	}
}

// number returns a number in an object, or -1.
func number(object *unstructured.Unstructured, path ...string) int64 {
	n, found, err := unstructured.NestedInt64(object.Object, path...)
	if err != nil || !found {
		return -1
	}
	return n
}

// text returns a string in an object, or "".
func text(object *unstructured.Unstructured, path ...string) string {
	s, _, _ := unstructured.NestedString(object.Object, path...)
	return s
}

// condition reports whether a condition of the status is true.
func condition(object *unstructured.Unstructured, name string) bool {
	conditions, _, _ := unstructured.NestedSlice(object.Object, "status", "conditions")
	for _, c := range conditions {
		if c, ok := c.(map[string]any); ok && c["type"] == name && c["status"] == "True" {
			return true
		}
	}
	return false
}
