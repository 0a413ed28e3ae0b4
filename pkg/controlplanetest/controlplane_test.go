// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest_test

import (
	"context"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/kubembed/kubembed/pkg/controlplanetest"
)

func list(t controlplanetest.TB, cp *controlplanetest.ControlPlane) {
	t.Helper()
	client := kubernetes.NewForConfigOrDie(cp.ClientConfig())
	if _, err := client.CoreV1().Namespaces().List(context.Background(), metav1.ListOptions{}); err != nil {
		t.Fatalf("%v", err)
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	list(t, controlplanetest.New(t, controlplanetest.Config{}))
}

func TestNewFails(t *testing.T) {
	t.Parallel()
	var cfg controlplanetest.Config
	cfg.ControlPlane.ServiceCIDR = "nonsense"
	var r recorder
	r.run(func(t controlplanetest.TB) { controlplanetest.New(t, cfg) })
	if !r.failed || !strings.Contains(r.text(), "ServiceCIDR") {
		t.Errorf("failed %v: %s", r.failed, r.text())
	}
}

// planes are the two kinds of control planes.
var planes = map[string]func(controlplanetest.TB) *controlplanetest.ControlPlane{
	"own": func(t controlplanetest.TB) *controlplanetest.ControlPlane {
		return controlplanetest.New(t, controlplanetest.Config{})
	},
	"shared": controlplanetest.Shared,
}

// TestUseAfterEnd: after the end of a test, requests and calls through its control
// plane fail with its name.
func TestUseAfterEnd(t *testing.T) {
	t.Parallel()
	for name, get := range planes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var cp *controlplanetest.ControlPlane
			var configs map[string]*rest.Config
			r := recorder{name: "TestThatEnds/" + name}
			r.run(func(t controlplanetest.TB) {
				cp = get(t)
				configs = map[string]*rest.Config{
					"in process":      cp.ClientConfig(),
					"TLS":             cp.UserConfig(t, "admin", "system:masters"),
					"impersonated":    cp.ImpersonatedConfig("admin", "system:masters"),
					"service account": cp.ServiceAccountConfig(t, "default", "robot"),
				}
				for name, config := range configs {
					if _, err := kubernetes.NewForConfigOrDie(config).Discovery().ServerVersion(); err != nil {
						t.Errorf("%s: %v", name, err)
					}
				}
			})
			if r.failed {
				t.Fatal(r.text())
			}
			configs["made later"] = cp.ClientConfig()
			for kind, config := range configs {
				_, err := kubernetes.NewForConfigOrDie(config).CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})
				if err == nil || !strings.Contains(err.Error(), r.name) {
					t.Errorf("%s: %v", kind, err)
				}
			}
			checkEnded(t, cp, r.name)
		})
	}
}

// TestLeakedWatches: forgotten watches and informers end with their test, with an error
// that has its name, and delay nothing.
func TestLeakedWatches(t *testing.T) {
	t.Parallel()
	for name, get := range planes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(context.Background())
			var factory informers.SharedInformerFactory
			var watches []watch.Interface
			told := make(chan error, 1)
			r := recorder{name: "TestThatLeaks/" + name}
			r.run(func(t controlplanetest.TB) {
				cp := get(t)
				for _, config := range []*rest.Config{cp.ClientConfig(), cp.UserConfig(t, "admin", "system:masters")} {
					w, err := kubernetes.NewForConfigOrDie(config).CoreV1().ConfigMaps("").Watch(ctx, metav1.ListOptions{})
					if err != nil {
						t.Fatalf("%v", err)
					}
					watches = append(watches, w)
				}
				factory = informers.NewSharedInformerFactory(kubernetes.NewForConfigOrDie(cp.ClientConfig()), 0)
				informer := factory.Core().V1().Pods().Informer()
				if err := informer.SetWatchErrorHandler(func(_ *cache.Reflector, err error) {
					if strings.Contains(err.Error(), "TestThatLeaks/"+name) {
						select {
						case told <- err:
						default:
						}
					}
				}); err != nil {
					t.Fatalf("%v", err)
				}
				factory.Start(ctx.Done())
				factory.WaitForCacheSync(ctx.Done())
			})
			if r.failed {
				t.Fatal(r.text())
			}
			for i, w := range watches {
				var last watch.Event
				for event := range w.ResultChan() {
					last = event
				}
				// A cut connection has no reason, as when the control plane has
				// stopped.
				if last.Type == watch.Error && !strings.Contains(errorText(last), r.name) {
					t.Errorf("watch %d: %v", i, errorText(last))
				}
			}
			select {
			case err := <-told:
				t.Log(err)
			case <-t.Context().Done():
			}
			cancel()
			factory.Shutdown()
			// The next test is not affected.
			r = recorder{name: "TestNext"}
			r.run(func(t controlplanetest.TB) { list(t, get(t)) })
			if r.failed {
				t.Error(r.text())
			}
		})
	}
}

func errorText(event watch.Event) string {
	if status, ok := event.Object.(*metav1.Status); ok {
		return status.Message
	}
	return ""
}
