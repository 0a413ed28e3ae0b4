package migration

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/kubembed/kubembed/pkg/controlplanetest"
)

// What MIGRATION.md says about an Environment on a control plane of ours.
func TestEnvironmentOnTop(t *testing.T) {
	t.Parallel()
	cp := controlplanetest.New(t, controlplanetest.Config{})
	existing := true
	env := &envtest.Environment{UseExistingCluster: &existing, Config: cp.ClientConfig()}
	if _, err := env.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := env.AddUser(envtest.User{Name: "jane"}, nil); err == nil {
		t.Error("AddUser works")
	}
	// For programs of their own, which get it as a file.
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

// What has an owner that never was is deleted.
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
	deadline := time.Now().Add(time.Minute)
	for {
		_, err := configMaps.Get(t.Context(), "owned", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return
		}
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("the ConfigMap is still there: %v", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
