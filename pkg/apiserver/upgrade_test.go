package apiserver_test

import (
	"context"
	"io"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
)

// Executors ask for their upgrade below the wrapped transport. Taken to the
// handler in this process, the WebSocket one panicked.
func TestExecutorsConnect(t *testing.T) {
	p := sharedPlane(t)
	url := p.admin().CoreV1().RESTClient().Post().Namespace("default").Resource("pods").Name("missing").SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Command: []string{"true"}, Stdout: true}, scheme.ParameterCodec).URL()
	spdy, err := remotecommand.NewSPDYExecutor(p.ClientConfig(), "POST", url)
	if err != nil {
		t.Fatal(err)
	}
	webSocket, err := remotecommand.NewWebSocketExecutor(p.ClientConfig(), "GET", url.String())
	if err != nil {
		t.Fatal(err)
	}
	for name, executor := range map[string]remotecommand.Executor{"SPDY": spdy, "WebSocket": webSocket} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		err := executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: io.Discard})
		cancel()
		if err == nil || ctx.Err() == context.DeadlineExceeded {
			t.Errorf("%s: %v", name, err)
			continue
		}
		t.Logf("%s: %v (not found: %v)", name, err, apierrors.IsNotFound(err))
	}
}
