// Package adopter_test is the test of a user of the fixture.
package adopter_test

import (
	"os"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kubembed/kubembed/pkg/controlplanetest"
)

func TestMain(m *testing.M) {
	os.Exit(controlplanetest.Main(m, controlplanetest.Config{Audit: true}))
}

func TestOwn(t *testing.T) {
	t.Parallel()
	createPod(t, controlplanetest.New(t, controlplanetest.Config{}))
}

func TestShared(t *testing.T) {
	for _, name := range []string{"a", "b"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			createPod(t, controlplanetest.Shared(t))
		})
	}
}

func createPod(t *testing.T, cp *controlplanetest.ControlPlane) {
	namespace := cp.Namespace(t)
	client := kubernetes.NewForConfigOrDie(cp.ClientConfig())
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "nginx"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "nginx", Image: "nginx"}}},
	}
	if _, err := client.CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	jane := kubernetes.NewForConfigOrDie(cp.UserConfig(t, "jane"))
	if _, err := jane.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("without any rights jane gets %v", err)
	}
}
