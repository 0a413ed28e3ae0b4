// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/kubernetes"
)

func TestServerSideApply(t *testing.T) {
	p := sharedPlane(t)
	ctx := t.Context()
	ns := p.namespace(t)
	maps := p.admin().CoreV1().ConfigMaps(ns)
	apply := func(manager, value string, force bool) (*corev1.ConfigMap, error) {
		return maps.Apply(ctx, corev1ac.ConfigMap("c", ns).WithData(map[string]string{"key": value}), metav1.ApplyOptions{FieldManager: manager, Force: force})
	}
	created := must(apply("alice", "a", false))(t)
	if len(created.ManagedFields) != 1 || created.ManagedFields[0].Manager != "alice" || created.ManagedFields[0].Operation != metav1.ManagedFieldsOperationApply {
		t.Errorf("got managed fields %+v, want one apply by alice", created.ManagedFields)
	}
	if _, err := apply("bob", "b", false); !apierrors.IsConflict(err) || !contains(err, `conflict with "alice"`) {
		t.Errorf("got error %v, want a conflict with alice", err)
	}
	forced := must(apply("bob", "b", true))(t)
	if forced.Data["key"] != "b" {
		t.Errorf("got data %v, want b", forced.Data)
	}
	managers := make([]string, 0, 1)
	for _, m := range forced.ManagedFields {
		managers = append(managers, m.Manager)
	}
	if !slices.Equal(managers, []string{"bob"}) {
		t.Errorf("got managers %q, want bob", managers)
	}
}

func TestFieldValidation(t *testing.T) {
	p := sharedPlane(t)
	path := "/api/v1/namespaces/" + p.namespace(t) + "/configmaps"
	body := func(name string) string {
		return `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"` + name + `"},"nonsense":1}`
	}
	client := p.inProcess(t)
	a := p.call(t, client, http.MethodPost, path+"?fieldValidation=Strict", body("strict")).want(t, http.StatusBadRequest)
	if !strings.Contains(a.body, "strict decoding error: unknown field") {
		t.Error(a.body)
	}
	a = p.call(t, client, http.MethodPost, path, body("warn")).want(t, http.StatusCreated)
	if got := a.header.Get("Warning"); got != `299 - "unknown field \"nonsense\""` {
		t.Errorf("got warning %q, want the unknown field", got)
	}
	a = p.call(t, client, http.MethodPost, path+"?fieldValidation=Ignore", body("ignore")).want(t, http.StatusCreated)
	if got := a.header.Get("Warning"); got != "" {
		t.Errorf("got warning %q, want none", got)
	}
	p.call(t, client, http.MethodPost, path, `{"metadata":{"name":"Not A Name"}}`).want(t, http.StatusUnprocessableEntity)
	p.call(t, client, http.MethodPost, path, `{`).want(t, http.StatusBadRequest)
	p.call(t, client, http.MethodPost, path, `x`, "Content-Type: text/csv").want(t, http.StatusUnsupportedMediaType)
}

func TestDryRun(t *testing.T) {
	p := sharedPlane(t)
	ns := p.namespace(t)
	created := must(p.createPod(t, ns, pod("never"), dryRun))(t)
	if created.UID == "" {
		t.Error("got no UID")
	}
	if _, err := p.admin().CoreV1().Pods(ns).Get(t.Context(), "never", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("dry run: got error %v, want NotFound", err)
	}
}

func TestPatches(t *testing.T) {
	p := sharedPlane(t)
	ctx := t.Context()
	ns := p.namespace(t)
	pods := p.admin().CoreV1().Pods(ns)
	two := pod("two")
	two.Spec.Containers = append(two.Spec.Containers, corev1.Container{Name: "other", Image: "example.com/other:v1"})
	must(pods.Create(ctx, two, metav1.CreateOptions{}))(t)
	images := func(kind types.PatchType, patch string) []string {
		t.Helper()
		patched := must(pods.Patch(ctx, "two", kind, []byte(patch), metav1.PatchOptions{}))(t)
		var images []string
		for _, c := range patched.Spec.Containers {
			images = append(images, c.Image)
		}
		return images
	}
	for _, test := range []struct {
		kind  types.PatchType
		patch string
		want  []string
	}{
		{types.JSONPatchType, `[{"op":"test","path":"/metadata/name","value":"two"},{"op":"replace","path":"/spec/containers/0/image","value":"a"}]`, []string{"a", "example.com/other:v1"}},
		// Containers are merged by name.
		{types.StrategicMergePatchType, `{"spec":{"containers":[{"name":"other","image":"b"}]}}`, []string{"a", "b"}},
		{types.MergePatchType, `{"metadata":{"labels":{"x":"y"}}}`, []string{"a", "b"}},
	} {
		if got := images(test.kind, test.patch); !slices.Equal(got, test.want) {
			t.Errorf("%s: images %q, want %q", test.kind, got, test.want)
		}
	}
	_, err := pods.Patch(ctx, "two", types.MergePatchType, []byte(`{"spec":{"containers":[{"name":"other","image":"b"}]}}`), metav1.PatchOptions{})
	if !apierrors.IsInvalid(err) {
		t.Errorf("merge patch that removes a container: got error %v, want Invalid", err)
	}
	_, err = pods.Patch(ctx, "two", types.JSONPatchType, []byte(`[{"op":"test","path":"/metadata/name","value":"one"}]`), metav1.PatchOptions{})
	if !apierrors.IsInvalid(err) {
		t.Errorf("JSON patch whose test fails: got error %v, want Invalid", err)
	}
}

func TestConflict(t *testing.T) {
	p := sharedPlane(t)
	ctx := t.Context()
	maps := p.admin().CoreV1().ConfigMaps(p.namespace(t))
	old := must(maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "c"}}, metav1.CreateOptions{}))(t)
	changed := old.DeepCopy()
	changed.Data = map[string]string{"key": "a"}
	must(maps.Update(ctx, changed, metav1.UpdateOptions{}))(t)
	if _, err := maps.Update(ctx, changed, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("update of an old object: got error %v, want Conflict", err)
	}
	if _, err := maps.Create(ctx, old, metav1.CreateOptions{}); err == nil {
		t.Error("create with a resource version: got no error, want one")
	}
	old.ResourceVersion = ""
	if _, err := maps.Create(ctx, old, metav1.CreateOptions{}); !apierrors.IsAlreadyExists(err) {
		t.Errorf("second create: got error %v, want AlreadyExists", err)
	}
	uid := types.UID("another")
	if err := maps.Delete(ctx, "c", metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}}); !apierrors.IsConflict(err) {
		t.Errorf("deletion with another UID: got error %v, want Conflict", err)
	}
}

func TestDeleteCollection(t *testing.T) {
	p := sharedPlane(t)
	ctx := t.Context()
	maps := p.admin().CoreV1().ConfigMaps(p.namespace(t))
	for name, keep := range map[string]string{"a": "no", "b": "yes", "c": "no"} {
		must(maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"keep": keep}}}, metav1.CreateOptions{}))(t)
	}
	if err := maps.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "keep=no"}); err != nil {
		t.Fatal(err)
	}
	left := must(maps.List(ctx, metav1.ListOptions{}))(t)
	if len(left.Items) != 1 || left.Items[0].Name != "b" {
		t.Errorf("got %d objects: %v, want b only", len(left.Items), left.Items)
	}
}

func TestProtobuf(t *testing.T) {
	p := sharedPlane(t)
	ns := p.namespace(t)
	c := p.as(t, "root", "system:masters")
	c.ContentType, c.AcceptContentTypes = "application/vnd.kubernetes.protobuf", "application/vnd.kubernetes.protobuf"
	client := kubernetes.NewForConfigOrDie(c)
	created := must(client.CoreV1().Pods(ns).Create(t.Context(), pod("one"), metav1.CreateOptions{}))(t)
	if created.Name != "one" || created.UID == "" {
		t.Errorf("got metadata %+v, want a name and a UID", created.ObjectMeta)
	}
	a := p.get(t, "/api/v1/namespaces/"+ns+"/pods/one", "Accept: application/vnd.kubernetes.protobuf").want(t, http.StatusOK)
	if a.header.Get("Content-Type") != "application/vnd.kubernetes.protobuf" || a.body[:4] != "k8s\x00" {
		t.Errorf("got Content-Type %q with body %.20q, want protobuf", a.header.Get("Content-Type"), a.body)
	}
}

func TestYAML(t *testing.T) {
	p := sharedPlane(t)
	ns := p.namespace(t)
	p.call(t, p.inProcess(t), http.MethodPost, "/api/v1/namespaces/"+ns+"/configmaps",
		"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c\ndata:\n  key: value\n", "Content-Type: application/yaml").want(t, http.StatusCreated)
	a := p.get(t, "/api/v1/namespaces/"+ns+"/configmaps/c", "Accept: application/yaml").want(t, http.StatusOK)
	if !strings.Contains(a.body, "data:\n  key: value\n") {
		t.Error(a.body)
	}
}
