// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/kubernetes"

	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// grumpy is an admission plugin that refuses all of the server's own writes, and panics
// for one ConfigMap.
type grumpy struct{ *admission.Handler }

func (grumpy) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetName() == "panics" {
		panic("a bug of the host")
	}
	if a.GetUserInfo().GetName() == user.APIServerUser {
		return admission.NewForbidden(a, errors.New("no"))
	}
	return nil
}

// TestAdmissionPluginInGo: a panic of a plugin fails one request, and not the process. A
// plugin that refuses what a start repairs does not prevent the start.
func TestAdmissionPluginInGo(t *testing.T) {
	cfg := controlplane.Config{DataDir: t.TempDir(), Admission: apiserver.Admission{
		Plugins: []apiserver.AdmissionPlugin{{Name: "Grumpy", New: func() (admission.Interface, error) {
			return grumpy{admission.NewHandler(admission.Create, admission.Update)}, nil
		}}},
	}}
	server := start(t, cfg)
	client := kubernetes.NewForConfigOrDie(server.ClientConfig())
	create := func(name string) error {
		_, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		return err
	}
	if err := create("panics"); !apierrors.IsInternalError(err) || !strings.Contains(err.Error(), `admission plugin "Grumpy" panicked`) {
		t.Errorf("got %v, want an internal error with the name of the plugin", err)
	}
	if err := create("works"); err != nil {
		t.Error(err)
	}
	if err := client.RbacV1().ClusterRoles().Delete(t.Context(), "view", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	closeServer(t, server)

	server = start(t, cfg)
	client = kubernetes.NewForConfigOrDie(server.ClientConfig())
	if _, err := client.RbacV1().ClusterRoles().Get(t.Context(), "view", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := controlplane.Start(t.Context(), controlplane.Config{Admission: apiserver.Admission{
		Plugins: []apiserver.AdmissionPlugin{{Name: "Broken", New: func() (admission.Interface, error) { return nil, errors.New("no plugin") }}},
	}}); err == nil || !strings.Contains(err.Error(), "controlplane: start: Config.Admission.Plugins[0].New: no plugin") {
		t.Errorf("got %v, want the field", err)
	}
}

// TestStartNamesABlockedAdmissionPlugin: the context of the start ends while the plugin
// blocks. The directory is free for the next start.
func TestStartNamesABlockedAdmissionPlugin(t *testing.T) {
	released := make(chan struct{})
	t.Cleanup(func() { close(released) })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cfg := controlplane.Config{DataDir: t.TempDir(), Admission: apiserver.Admission{
		Plugins: []apiserver.AdmissionPlugin{{Name: "Blocks", New: func() (admission.Interface, error) {
			cancel()
			<-released
			return nil, errors.New("too late")
		}}},
	}}
	_, err := controlplane.Start(ctx, cfg)
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "Config.Admission.Plugins[0].New: had not returned") {
		t.Errorf("got %v, want the cause and the field", err)
	}
	start(t, controlplane.Config{DataDir: cfg.DataDir})
}
