package hollownode_test

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"

	"github.com/kubembed/kubembed/pkg/components/hollownode"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// patience is for what must happen; a test that waits for all of it fails.
const patience = 2 * time.Minute

// plane is a control plane with its administrator's client.
type plane struct {
	*kubernetes.Clientset
	server *controlplane.Server
}

func start(t testing.TB, cfg controlplane.Config) plane {
	t.Helper()
	server, err := controlplane.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return plane{kubernetes.NewForConfigOrDie(server.ClientConfig()), server}
}

// run runs nodes until stop is called or the test ends, and returns when they are
// ready.
func (p plane) run(t testing.TB, nodes *hollownode.Nodes) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, result := make(chan struct{}), make(chan error, 1)
	go func() { result <- nodes.Run(ctx, p.server.ClientConfig(), func() { close(ready) }) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-result:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			t.Error("Run does not return")
		}
	}
	t.Cleanup(stop)
	select {
	case <-ready:
	case err := <-result:
		stopped = true
		t.Fatalf("Run ended before it was ready: %v", err)
	case <-time.After(patience):
		t.Fatal("never ready")
	}
	return stop
}

// until watches the object until done is true of it.
func until[T runtime.Object](t testing.TB, p plane, resource, namespace, name string, kind T, done func(T) bool) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	client := p.CoreV1().RESTClient()
	if resource == "leases" {
		client = p.CoordinationV1().RESTClient()
	}
	lw := cache.NewListWatchFromClient(client, resource, namespace, fields.OneTermEqualSelector("metadata.name", name))
	event, err := watchtools.UntilWithSync(ctx, lw, kind, nil, func(event watch.Event) (bool, error) {
		object, ok := event.Object.(T)
		return ok && event.Type != watch.Deleted && done(object), nil
	})
	if err != nil {
		t.Fatalf("%s %s: %v", resource, name, err)
	}
	return event.Object.(T)
}

func (p plane) untilPod(t testing.TB, name string, done func(*corev1.Pod) bool) *corev1.Pod {
	t.Helper()
	return until(t, p, "pods", "default", name, &corev1.Pod{}, done)
}

func (p plane) untilPhase(t testing.TB, name string, phase corev1.PodPhase) *corev1.Pod {
	t.Helper()
	return p.untilPod(t, name, func(pod *corev1.Pod) bool { return pod.Status.Phase == phase })
}

// untilGone waits until the pod is deleted.
func (p plane) untilGone(t testing.TB, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	lw := cache.NewListWatchFromClient(p.CoreV1().RESTClient(), "pods", "default", fields.OneTermEqualSelector("metadata.name", name))
	gone := func(store cache.Store) (bool, error) { return len(store.List()) == 0, nil }
	_, err := watchtools.UntilWithSync(ctx, lw, &corev1.Pod{}, gone, func(event watch.Event) (bool, error) {
		return event.Type == watch.Deleted, nil
	})
	if err != nil {
		t.Fatalf("pod %s is not deleted: %v", name, err)
	}
}

// create creates a pod on node.
func (p plane) create(t testing.TB, name, node string, change ...func(*corev1.Pod)) *corev1.Pod {
	t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{}},
		Spec: corev1.PodSpec{
			NodeName:   node,
			Containers: []corev1.Container{{Name: "main", Image: "registry.k8s.io/pause"}},
		},
	}
	for _, f := range change {
		f(pod)
	}
	created, err := p.CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return created
}

func (p plane) delete(t testing.TB, name string, grace *int64) {
	t.Helper()
	if err := p.CoreV1().Pods("default").Delete(t.Context(), name, metav1.DeleteOptions{GracePeriodSeconds: grace}); err != nil {
		t.Fatal(err)
	}
}

func annotate(annotation, value string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.Annotations[annotation] = value }
}

func restart(policy corev1.RestartPolicy) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.Spec.RestartPolicy = policy }
}

func condition(pod *corev1.Pod, kind corev1.PodConditionType) corev1.ConditionStatus {
	for _, c := range pod.Status.Conditions {
		if c.Type == kind {
			return c.Status
		}
	}
	return ""
}
