// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"
)

const (
	// dumpTimeout bounds a dump. listTimeout bounds one resource: an aggregated API
	// server may not answer.
	dumpTimeout = time.Minute
	listTimeout = 10 * time.Second
)

// dump writes the objects and logs of the control plane to a directory named after a
// test, with the log up to end. The dump lists resources that could not be read, and
// has the rest. dump calls say with the path.
func (cp *ControlPlane) dump(name string, end time.Time, say func(text string)) error {
	if cp.config.DumpOnFailure == "" {
		return nil
	}
	dir, err := newDir(cp.config.DumpOnFailure, fileName(name))
	if err == nil {
		say(dir)
		err = cp.dumpTo(dir, end)
	}
	if err != nil {
		return fmt.Errorf("controlplanetest: Config.DumpOnFailure: %w", err)
	}
	return nil
}

// newDir creates a directory with the name, or with a number after it if an earlier test
// has left one.
func newDir(parent, name string) (string, error) {
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", err
	}
	path := filepath.Join(parent, name)
	for i := 2; ; i++ {
		err := os.Mkdir(path, 0o755)
		if err == nil {
			return filepath.Abs(path)
		}
		if !errors.Is(err, os.ErrExist) {
			return "", err
		}
		path = filepath.Join(parent, fmt.Sprintf("%s-%d", name, i))
	}
}

func (cp *ControlPlane) dumpTo(dir string, end time.Time) error {
	d := dumper{dir: dir}
	if log := cp.log.report(cp.began.log, end); log != "" {
		d.write("controlplane.log", []byte(log[1:]+"\n"))
	}
	if cp.auditPath != "" {
		data, err := cp.auditData()
		if err != nil {
			d.errs = append(d.errs, err)
		}
		d.write("audit.log", data)
	}
	if cp.dead() {
		return errors.Join(d.errs...)
	}
	ctx, cancel := context.WithTimeout(context.Background(), dumpTimeout)
	defer cancel()
	config := cp.admin()
	groups, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return err
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	// With an error it still returns the groups that answer.
	lists, err := discovery.ServerPreferredResources(groups)
	if err != nil {
		d.missing = append(d.missing, err.Error())
	}
	for _, list := range lists {
		group, _ := schema.ParseGroupVersion(list.GroupVersion)
		for _, resource := range list.APIResources {
			if slices.Contains(resource.Verbs, "list") && !skipped(group.Group, resource.Name) {
				d.resource(ctx, client, group.WithResource(resource.Name))
			}
		}
	}
	if len(d.missing) > 0 {
		d.write("missing.txt", []byte(strings.Join(d.missing, "\n")+"\n"))
	}
	return errors.Join(d.errs...)
}

// skipped reports whether another resource has the same objects, or the resource has
// none.
func skipped(group, resource string) bool {
	return group == "events.k8s.io" || group == "" && resource == "componentstatuses"
}

// dumper writes files into a directory.
type dumper struct {
	dir     string
	missing []string // what could not be read
	errs    []error  // what could not be written
}

func (d *dumper) write(name string, data []byte) {
	path := filepath.Join(d.dir, name)
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, data, 0o644)
	}
	if err != nil {
		d.errs = append(d.errs, err)
	}
}

// resource writes the objects of a resource to one file for each namespace.
func (d *dumper) resource(ctx context.Context, client dynamic.Interface, resource schema.GroupVersionResource) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	list, err := client.Resource(resource).List(ctx, metav1.ListOptions{})
	if err != nil {
		d.missing = append(d.missing, fmt.Sprintf("%s: %v", resource.GroupResource(), err))
		return
	}
	if resource.Group == "" && resource.Resource == "events" {
		d.events(list.Items)
	}
	files := map[string][]byte{}
	for _, object := range list.Items {
		object.SetManagedFields(nil)
		if resource.Group == "" && resource.Resource == "secrets" {
			redact(&object)
		}
		data, err := yaml.Marshal(object.Object)
		if err != nil {
			d.errs = append(d.errs, err)
			continue
		}
		directory := "cluster"
		if namespace := object.GetNamespace(); namespace != "" {
			directory = filepath.Join("namespaces", namespace)
		}
		path := filepath.Join(directory, resource.GroupResource().String()+".yaml")
		files[path] = append(append(files[path], "---\n"...), data...)
	}
	for path, data := range files {
		d.write(path, data)
	}
}

// redact replaces the values of a Secret by their lengths.
func redact(secret *unstructured.Unstructured) {
	unstructured.RemoveNestedField(secret.Object, "stringData")
	annotations := secret.GetAnnotations()
	delete(annotations, corev1.LastAppliedConfigAnnotation)
	secret.SetAnnotations(annotations)
	data, _, _ := unstructured.NestedMap(secret.Object, "data")
	for key, value := range data {
		text, _ := value.(string)
		data[key] = fmt.Sprintf("(left out: %d characters of base64)", len(text))
	}
	if len(data) > 0 {
		_ = unstructured.SetNestedMap(secret.Object, data, "data")
	}
}

// events writes a table of all events, oldest first.
func (d *dumper) events(objects []unstructured.Unstructured) {
	var events []*corev1.Event
	for _, object := range objects {
		event := &corev1.Event{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, event); err != nil {
			d.errs = append(d.errs, err)
			continue
		}
		events = append(events, event)
	}
	slices.SortStableFunc(events, func(a, b *corev1.Event) int { return lastSeen(a).Compare(lastSeen(b)) })
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 8, 2, ' ', 0)
	for _, event := range events {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s/%s\t%s\n", lastSeen(event).UTC().Format("15:04:05.000"), event.Namespace, event.Type,
			event.Reason, strings.ToLower(event.InvolvedObject.Kind), event.InvolvedObject.Name, event.Message)
	}
	table.Flush()
	d.write("events.txt", []byte(text.String()))
}

// lastSeen returns the time that kubectl shows for an event.
func lastSeen(event *corev1.Event) time.Time {
	switch {
	case event.Series != nil:
		return event.Series.LastObservedTime.Time
	case !event.LastTimestamp.IsZero():
		return event.LastTimestamp.Time
	case !event.EventTime.IsZero():
		return event.EventTime.Time
	default:
		return event.CreationTimestamp.Time
	}
}
