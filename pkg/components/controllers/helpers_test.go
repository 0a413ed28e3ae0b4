package controllers_test

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
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"

	"github.com/kubembed/kubembed/internal/lifecycle"
	"github.com/kubembed/kubembed/pkg/components/controllers"
	"github.com/kubembed/kubembed/pkg/components/hollownode"
	"github.com/kubembed/kubembed/pkg/components/scheduler"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// patience is for what must happen; a test that waits for all of it fails.
const patience = 2 * time.Minute

// plane is a control plane with its administrator's client.
type plane struct {
	*kubernetes.Clientset
	config *rest.Config
}

// start starts a control plane in which pods need no service account.
func start(t testing.TB, cfg controlplane.Config) plane {
	t.Helper()
	cfg.DisableAdmissionPlugins = append(cfg.DisableAdmissionPlugins, "ServiceAccount")
	server, err := controlplane.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return plane{kubernetes.NewForConfigOrDie(server.ClientConfig()), server.ClientConfig()}
}

type component interface {
	Name() string
	Run(ctx context.Context, config *rest.Config, ready func()) error
}

// run runs a component and returns when it is ready. stop may be called before
// the end of the test.
func (p plane) run(t testing.TB, c component) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- c.Run(ctx, p.config, func() { close(ready) }) }()
	stopped := false
	stop = func() {
		t.Helper()
		cancel()
		if stopped {
			return
		}
		stopped = true
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("%s: %v", c.Name(), err)
			}
		case <-time.After(patience):
			t.Errorf("%s does not end", c.Name())
		}
	}
	t.Cleanup(stop)
	select {
	case <-ready:
	case err := <-done:
		stopped = true
		t.Fatalf("%s ended before it was ready: %v", c.Name(), err)
	case <-time.After(patience):
		t.Fatalf("%s is not ready", c.Name())
	}
	return stop
}

// cluster is a control plane with a scheduler, simulated nodes, and controllers.
func cluster(t testing.TB, nodes hollownode.Config, cfg controllers.Config) (plane, *hollownode.Nodes) {
	t.Helper()
	p := start(t, controlplane.Config{})
	p.run(t, controllers.New(cfg))
	p.run(t, scheduler.New(scheduler.Config{}))
	workers := hollownode.New(nodes)
	p.run(t, workers)
	return p, workers
}

// until watches the object until done is true of it.
func until[T runtime.Object](t testing.TB, client rest.Interface, resource, namespace, name string, kind T, done func(T) bool) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	lw := cache.NewListWatchFromClient(client, resource, namespace, fields.OneTermEqualSelector("metadata.name", name))
	var last watch.Event
	event, err := watchtools.UntilWithSync(ctx, lw, kind, nil, func(event watch.Event) (bool, error) {
		last = event
		object, ok := event.Object.(T)
		return ok && event.Type != watch.Deleted && done(object), nil
	})
	if err != nil {
		t.Fatalf("%s %s: %v; last: %+v", resource, name, err, last)
	}
	return event.Object.(T)
}

// eventually asks until it is so.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := lifecycle.Poll(ctx, done); err != nil {
		t.Fatalf("never: %s: %v", what, err)
	}
}

// pods are those of an app in the namespace default that are not being deleted.
func (p plane) pods(t testing.TB, app string) (pods []corev1.Pod) {
	t.Helper()
	list, err := p.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{LabelSelector: "app=" + app})
	if err != nil {
		t.Fatal(err)
	}
	for _, pod := range list.Items {
		if pod.DeletionTimestamp == nil {
			pods = append(pods, pod)
		}
	}
	return pods
}

// labels, selector and template are those of an app.
func labels(app string) map[string]string { return map[string]string{"app": app} }

func selector(app string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: labels(app)}
}

func template(app, image string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: labels(app)},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: new(int64),
			Containers:                    []corev1.Container{{Name: "main", Image: image}},
		},
	}
}

func meta(app string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: app, Namespace: "default", Labels: labels(app)}
}
