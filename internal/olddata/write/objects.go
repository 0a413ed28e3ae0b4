// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	_ "embed"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"

	"github.com/kubembed/kubembed/internal/olddata"
)

//go:embed objects.yaml
var manifests []byte

const (
	namespace = "olddata"
	timeout   = time.Minute // of each wait
)

// writer writes the objects.
type writer struct {
	typed   *kubernetes.Clientset
	dynamic dynamic.Interface
	mapper  *restmapper.DeferredDiscoveryRESTMapper
}

func newWriter(config *rest.Config) (*writer, error) {
	config = rest.CopyConfig(config)
	config.QPS = -1
	typed, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(typed.Discovery()))
	return &writer{typed, client, mapper}, nil
}

// poll calls f until it succeeds.
func poll(ctx context.Context, f func(context.Context) error) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, timeout, true, func(ctx context.Context) (bool, error) {
		last = f(ctx)
		return last == nil, nil
	})
	if err != nil {
		return errors.Join(err, last)
	}
	return nil
}

// write writes everything.
func (w *writer) write(ctx context.Context) error {
	if err := w.create(ctx, manifests); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{w.nextStorageVersion, w.sign, w.status, w.deleteHeld, w.history} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) create(ctx context.Context, manifests []byte) error {
	documents := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(manifests)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		o := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(document, &o.Object); err != nil {
			return err
		}
		if err := w.createOne(ctx, o); err != nil {
			return fmt.Errorf("%s %s: %w", o.GetKind(), o.GetName(), err)
		}
	}
}

func (w *writer) createOne(ctx context.Context, o *unstructured.Unstructured) error {
	kind := o.GroupVersionKind()
	var mapping *meta.RESTMapping
	// A custom resource is served a moment after its CRD was created.
	return poll(ctx, func(ctx context.Context) (err error) {
		if mapping, err = w.mapper.RESTMapping(kind.GroupKind(), kind.Version); err != nil {
			w.mapper.Reset()
			return err
		}
		_, err = w.resource(mapping.Resource, o.GetNamespace()).Create(ctx, o, metav1.CreateOptions{})
		return err
	})
}

func (w *writer) resource(r schema.GroupVersionResource, namespace string) dynamic.ResourceInterface {
	if namespace == "" {
		return w.dynamic.Resource(r)
	}
	return w.dynamic.Resource(r).Namespace(namespace)
}

var (
	crds    = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	widgets = schema.GroupVersionResource{Group: "olddata.kubembed.dev", Version: "v1", Resource: "widgets"}
)

// nextStorageVersion leaves custom resources of one kind that are stored in two versions.
func (w *writer) nextStorageVersion(ctx context.Context) error {
	patch := []byte(`[{"op":"replace","path":"/spec/versions/0/storage","value":false},{"op":"replace","path":"/spec/versions/1/storage","value":true}]`)
	if _, err := w.dynamic.Resource(crds).Patch(ctx, "widgets.olddata.kubembed.dev", types.JSONPatchType, patch, metav1.PatchOptions{}); err != nil {
		return err
	}
	err := poll(ctx, func(ctx context.Context) error {
		crd, err := w.dynamic.Resource(crds).Get(ctx, "widgets.olddata.kubembed.dev", metav1.GetOptions{})
		if err != nil {
			return err
		}
		stored, _, err := unstructured.NestedStringSlice(crd.Object, "status", "storedVersions")
		if err == nil && len(stored) != 2 {
			err = fmt.Errorf("stored versions are %v", stored)
		}
		return err
	})
	if err != nil {
		return err
	}
	return w.createOne(ctx, &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "olddata.kubembed.dev/v1", "kind": "Widget",
		"metadata": map[string]any{"name": "stored-as-v1", "namespace": namespace},
		"spec":     map[string]any{"colour": "blue"},
	}})
}

// sign leaves a CertificateSigningRequest that is approved and signed, and a pending
// one.
func (w *writer) sign(ctx context.Context) error {
	requests := w.typed.CertificatesV1().CertificateSigningRequests()
	for _, name := range []string{"signed", "waiting"} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return err
		}
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, key)
		if err != nil {
			return err
		}
		request, err := requests.Create(ctx, &certificatesv1.CertificateSigningRequest{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: certificatesv1.CertificateSigningRequestSpec{
				SignerName: certificatesv1.KubeAPIServerClientSignerName,
				Request:    pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
				Usages:     []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth},
			},
		}, metav1.CreateOptions{})
		if err != nil {
			return err
		}
		if name == "waiting" {
			continue
		}
		request.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{
			Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "OldData",
		}}
		if _, err := requests.UpdateApproval(ctx, name, request, metav1.UpdateOptions{}); err != nil {
			return err
		}
		err = poll(ctx, func(ctx context.Context) error {
			request, err := requests.Get(ctx, name, metav1.GetOptions{})
			if err == nil && len(request.Status.Certificate) == 0 {
				err = errors.New("the request is not signed")
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// status writes subresources.
func (w *writer) status(ctx context.Context) error {
	patch := []byte(`{"status":{"addresses":[{"type":"InternalIP","address":"192.0.2.10"}],"capacity":{"pods":"10"},"nodeInfo":{"kubeletVersion":"v1.30.0"}}}`)
	if _, err := w.typed.CoreV1().Nodes().Patch(ctx, "worker", types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status"); err != nil {
		return err
	}
	_, err := w.resource(widgets, namespace).Patch(ctx, "stored-as-v1", types.MergePatchType, []byte(`{"status":{"ready":true}}`), metav1.PatchOptions{}, "status")
	return err
}

// deleteHeld leaves an object that is being deleted and has a finalizer.
func (w *writer) deleteHeld(ctx context.Context) error {
	return w.typed.CoreV1().ConfigMaps(namespace).Delete(ctx, "held", metav1.DeleteOptions{})
}

// historyLength is the number of writes after which etcd takes a snapshot of its log,
// and some more.
const historyLength = 1100

// history writes one object many times and deletes another, so that there are revisions,
// tombstones, and a snapshot of the log.
func (w *writer) history(ctx context.Context) error {
	for i := range historyLength {
		patch := fmt.Appendf(nil, `{"data":{"colour":"red","n":"%d"}}`, i)
		if _, err := w.typed.CoreV1().ConfigMaps(namespace).Patch(ctx, "settings", types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "history"}); err != nil {
			return err
		}
	}
	gone := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "gone"}}
	if _, err := w.typed.CoreV1().ConfigMaps(namespace).Create(ctx, gone, metav1.CreateOptions{}); err != nil {
		return err
	}
	return w.typed.CoreV1().ConfigMaps(namespace).Delete(ctx, "gone", metav1.DeleteOptions{})
}

// token waits for the token of the service account.
func (w *writer) token(ctx context.Context) (token string, err error) {
	err = poll(ctx, func(ctx context.Context) error {
		secret, err := w.typed.CoreV1().Secrets(namespace).Get(ctx, "robot-token", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if token = string(secret.Data[corev1.ServiceAccountTokenKey]); token == "" {
			return errors.New("the service account has no token")
		}
		return nil
	})
	return token, err
}

// list returns all served objects.
func (w *writer) list(ctx context.Context) ([]olddata.Object, error) {
	resources, err := w.typed.Discovery().ServerPreferredResources()
	// The group of the unavailable APIService is not served.
	if failed := (*discovery.ErrGroupDiscoveryFailed)(nil); err != nil && !(errors.As(err, &failed) && len(failed.Groups) == 1) {
		return nil, err
	}
	var objects []olddata.Object
	for _, group := range resources {
		gv, err := schema.ParseGroupVersion(group.GroupVersion)
		if err != nil {
			return nil, err
		}
		for _, r := range group.APIResources {
			if !strings.Contains(r.Verbs.String(), "list") || gv.Group == "events.k8s.io" {
				continue
			}
			list, err := w.dynamic.Resource(gv.WithResource(r.Name)).List(ctx, metav1.ListOptions{})
			if err != nil {
				return nil, fmt.Errorf("%s: %w", r.Name, err)
			}
			for i := range list.Items {
				o := list.Items[i].Object
				objects = append(objects, olddata.Object{Group: gv.Group, Version: gv.Version, Resource: r.Name, Object: o})
			}
		}
	}
	return objects, nil
}

// settle waits until nothing has been written for a while.
func (w *writer) settle(ctx context.Context) error {
	const quiet = 3 * time.Second
	last, since := "", time.Now()
	return poll(ctx, func(ctx context.Context) error {
		list, err := w.typed.CoreV1().ConfigMaps(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		if list.ResourceVersion != last {
			last, since = list.ResourceVersion, time.Now()
		}
		if time.Since(since) < quiet {
			return errors.New("the control plane still writes")
		}
		return nil
	})
}

// lastObjects writes objects just before the control plane is killed: etcd's log has
// them, but not yet its database.
func (w *writer) lastObjects(ctx context.Context) ([]olddata.Object, error) {
	configMaps := schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	var objects []olddata.Object
	for i := range 20 {
		o, err := w.resource(configMaps, namespace).Create(ctx, &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "v1", "kind": "ConfigMap",
			"metadata": map[string]any{"name": fmt.Sprintf("late-%d", i), "namespace": namespace},
		}}, metav1.CreateOptions{})
		if err != nil {
			return nil, err
		}
		objects = append(objects, olddata.Object{Version: "v1", Resource: "configmaps", Object: o.Object})
	}
	return objects, nil
}
