// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/kubembed/kubembed/pkg/controlplanetest"
)

// TestEnvironmentOnTop checks the chapter of MIGRATION.md that keeps envtest.Environment.
func TestEnvironmentOnTop(t *testing.T) {
	t.Parallel()
	cp := controlplanetest.New(t, controlplanetest.Config{})
	existing := true
	env := &envtest.Environment{UseExistingCluster: &existing, Config: cp.ClientConfig()}
	if _, err := env.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := env.AddUser(envtest.User{Name: "jane"}, nil); err == nil {
		t.Error("AddUser: got no error, want one")
	}
	// Other programs get this kubeconfig as a file.
	config, err := clientcmd.RESTConfigFromKubeConfig(env.KubeConfig)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kubernetes.NewForConfigOrDie(config).CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Errorf("with the Environment's KubeConfig: %v", err)
	}
	if err := env.Stop(); err != nil {
		t.Error(err)
	}
	client := kubernetes.NewForConfigOrDie(cp.ClientConfig())
	if _, err := client.CoreV1().Namespaces().Get(t.Context(), "default", metav1.GetOptions{}); err != nil {
		t.Errorf("after Stop of the Environment: %v", err)
	}
}

// An object whose owner never existed is deleted.
func TestOwnerIsMadeUp(t *testing.T) {
	t.Parallel()
	client := kubernetes.NewForConfigOrDie(controlplanetest.New(t, controlplanetest.Config{}).ClientConfig())
	configMaps := client.CoreV1().ConfigMaps("default")
	owned := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Name:            "owned",
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "nobody", UID: "made-up"}},
	}}
	if _, err := configMaps.Create(t.Context(), owned, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		_, err := configMaps.Get(ctx, "owned", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		return false, err
	})
	if err != nil {
		t.Fatalf("the ConfigMap is not deleted: %v", err)
	}
}
