// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"errors"
	"net/url"
	"os"
	"runtime/pprof"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

// start starts a control plane that is closed at the end of the test.
func start(t testing.TB, cfg controlplane.Config) *controlplane.Server {
	t.Helper()
	server, err := controlplane.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeServer(t, server) })
	return server
}

// ownTemp makes a directory in which this test's temporary directories are made.
func ownTemp(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	setTemp(t, dir)
	return dir
}

func setTemp(t testing.TB, dir string) {
	t.Helper()
	t.Setenv("TMPDIR", dir)
	t.Setenv("TMP", dir) // the name on Windows
}

func closeServer(t testing.TB, server *controlplane.Server) {
	t.Helper()
	if err := server.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// admin is the in-process client.
func admin(t testing.TB, server *controlplane.Server) *kubernetes.Clientset {
	t.Helper()
	return clientFor(t, server.ClientConfig())
}

// overTLS is the client of a user in groups, over the network.
func overTLS(t testing.TB, server *controlplane.Server, user string, groups ...string) *kubernetes.Clientset {
	t.Helper()
	kubeconfig, err := server.Kubeconfig(user, groups...)
	if err != nil {
		t.Fatal(err)
	}
	return clientFor(t, fromKubeconfig(t, kubeconfig))
}

func fromKubeconfig(t testing.TB, kubeconfig []byte) *rest.Config {
	t.Helper()
	config, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	return config
}

func clientFor(t testing.TB, config *rest.Config) *kubernetes.Clientset {
	t.Helper()
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// newPod is the smallest pod.
func newPod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "registry.k8s.io/pause"}}},
	}
}

func createPod(t testing.TB, client kubernetes.Interface, name string) *corev1.Pod {
	t.Helper()
	pod, err := client.CoreV1().Pods("default").Create(t.Context(), newPod(name), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return pod
}

func podNames(t testing.TB, client kubernetes.Interface) (names []string) {
	t.Helper()
	list, err := client.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, pod := range list.Items {
		names = append(names, pod.Name)
	}
	return names
}

// wantStatus checks that err is an answer of the API server with that code.
func wantStatus(t testing.TB, what string, err error, code int32) {
	t.Helper()
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Code != code {
		t.Errorf("%s: %v, want status %d", what, err, code)
	}
}

// hostPort is the host:port of a URL.
func hostPort(t testing.TB, rawURL string) string {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

// entries returns the names in a directory.
func entries(t testing.TB, dir string) (names []string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range list {
		names = append(names, entry.Name())
	}
	return names
}

// stacks counts the goroutines that are in a function.
func stacks(t *testing.T, function string) int {
	t.Helper()
	var all strings.Builder
	if err := pprof.Lookup("goroutine").WriteTo(&all, 2); err != nil {
		t.Fatal(err)
	}
	return strings.Count(all.String(), function)
}
