// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers_test

import (
	"context"
	"errors"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	kubectrlmgrconfig "k8s.io/kubernetes/pkg/controller/apis/config"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/components/controllers"
	"github.com/kubembed/kubembed/pkg/components/hollownode"
	"github.com/kubembed/kubembed/pkg/components/scheduler"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

func TestInvalidConfig(t *testing.T) {
	for name, c := range map[string]struct {
		config controllers.Config
		want   []string
	}{
		"unknown name": {
			controllers.Config{Controllers: []string{"deploymint"}},
			[]string{"Controllers[0]", "deploymint", "deployment-controller", "node-lifecycle-controller", `"workloads"`},
		},
		"unknown name left out": {controllers.Config{Controllers: []string{controllers.All, "-deploymint"}}, []string{"Controllers[1]", "-deploymint"}},
		"set left out":          {controllers.Config{Controllers: []string{"-workloads"}}, []string{"Controllers[0]"}},
		"every plane's own":     {controllers.Config{Controllers: []string{"namespace-controller"}}, []string{"every control plane runs it"}},
		"alias of such":         {controllers.Config{Controllers: []string{"garbagecollector"}}, []string{"every control plane runs it"}},
		"alias of a new one":    {controllers.Config{Controllers: []string{"svm"}}, []string{"every control plane runs it"}},
		"IPAM without a range":  {controllers.Config{Controllers: []string{"nodeipam"}}, []string{"Controllers[0]", "PodCIDR"}},
		"no range":              {controllers.Config{PodCIDR: "10.0.0.0"}, []string{"PodCIDR", "10.244.0.0/16"}},
		"two of a family":       {controllers.Config{PodCIDR: "10.0.0.0/16,10.1.0.0/16"}, []string{"PodCIDR", "IPv6"}},
		"a range without room":  {controllers.Config{PodCIDR: "10.0.0.0/25"}, []string{"PodCIDR", "/24"}},
		"all at once": {
			controllers.Config{PodCIDR: "10.0.0.0/25", Controllers: []string{"x", "y"}},
			[]string{"PodCIDR", "Controllers[0]", "Controllers[1]"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.config.Validate()
			for _, want := range c.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Fatalf("got error %v, want %q in it", err, want)
				}
			}
			// Run makes no request: there is no control plane.
			if got := controllers.New(c.config).Run(t.Context(), &rest.Config{}, func() { t.Error("ready") }); got == nil || got.Error() != err.Error() {
				t.Errorf("Run: %v", got)
			}
		})
	}
}

func TestValidConfig(t *testing.T) {
	for name, config := range map[string]controllers.Config{
		"zero":     {},
		"set":      {Controllers: []string{controllers.Workloads}},
		"alias":    {Controllers: []string{"deployment", "replicaset-controller"}},
		"left out": {Controllers: []string{"-nodelifecycle"}},
		"IPAM":     {Controllers: []string{"nodeipam"}, PodCIDR: "10.244.0.0/16"},
		"IPv6":     {PodCIDR: "fd00::/48"},
		"dual":     {PodCIDR: "10.244.0.0/16, fd00::/48"},
		"tuned": {PodCIDR: "10.0.0.0/25", Customize: func(c *kubectrlmgrconfig.KubeControllerManagerConfiguration) {
			c.NodeIPAMController.NodeCIDRMaskSize = 28
		}},
	} {
		if err := config.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDisabledGroups: controllers of disabled API groups are skipped, and the others
// work.
func TestDisabledGroups(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	p := start(t, controlplane.Config{RuntimeConfig: map[string]string{
		"policy/v1": "false", "autoscaling/v2": "false", "resource.k8s.io/v1": "false", "admissionregistration.k8s.io/v1": "false",
	}})
	p.run(t, controllers.New(controllers.Config{Logger: zap.New(core)}))
	d := &appsv1.Deployment{ObjectMeta: meta("web"), Spec: appsv1.DeploymentSpec{
		Replicas: new(int32(2)), Selector: selector("web"), Template: template("web", "image:1"),
	}}
	if _, err := p.AppsV1().Deployments("default").Create(t.Context(), d, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	testwait.True(t, "a Deployment gets its pods", func() bool { return len(p.pods(t, "web")) == 2 })
	var left []string
	for _, entry := range logs.FilterMessageSnippet("skipping a controller").All() {
		if entry.Level == zap.WarnLevel {
			left = append(left, entry.ContextMap()["controller"].(string))
		}
	}
	slices.Sort(left)
	want := []string{
		"device-taint-eviction-controller", "disruption-controller", "horizontal-pod-autoscaler-controller",
		"resourceclaim-controller", "validatingadmissionpolicy-status-controller",
	}
	if !slices.Equal(left, want) {
		t.Errorf("skipped %q, want %q", left, want)
	}
}

// TestCoreGroupOnly: with only the core group, few controllers run.
func TestCoreGroupOnly(t *testing.T) {
	p := start(t, controlplane.Config{RuntimeConfig: map[string]string{"api/all": "false", "v1": "true"}})
	p.run(t, controllers.New(controllers.Config{}))
}

func TestStopBeforeReady(t *testing.T) {
	p := start(t, controlplane.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := controllers.New(controllers.Config{}).Run(ctx, p.config, func() { t.Error("ready") })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Run: %v", err)
	}
}

// TestNoControlPlane: Run fails without a control plane.
func TestNoControlPlane(t *testing.T) {
	config := &rest.Config{Host: "https://127.0.0.1:1"}
	if err := controllers.New(controllers.Config{}).Run(t.Context(), config, func() { t.Error("ready") }); err == nil || !strings.Contains(err.Error(), "discovery of the served resources") {
		t.Errorf("Run: %v", err)
	}
}

// TestConcurrentControlPlanes: several control planes run one value at once, and again.
func TestConcurrentControlPlanes(t *testing.T) {
	all := controllers.New(controllers.Config{PodCIDR: "10.244.0.0/16", Controllers: []string{controllers.All, "selinux-warning-controller"}})
	var planes []plane
	for range 3 {
		planes = append(planes, start(t, controlplane.Config{}))
	}
	var group sync.WaitGroup
	for _, p := range planes {
		group.Go(func() {
			for range 4 {
				ctx, cancel := context.WithTimeout(context.Background(), testwait.Timeout)
				ready := false
				if err := all.Run(ctx, p.config, func() { ready = true; cancel() }); err != nil || !ready {
					t.Errorf("Run: %v, ready: %v", err, ready)
				}
				cancel()
			}
		})
	}
	group.Wait()
}

// TestStopDuringWork: a stop with pending work leaves no goroutine.
func TestStopDuringWork(t *testing.T) {
	p := start(t, controlplane.Config{})
	nodes := hollownode.New(hollownode.Config{Count: 3})
	p.run(t, scheduler.New(scheduler.Config{}))
	p.run(t, nodes)
	for i, app := range []string{"a", "b", "c"} {
		stop := p.run(t, controllers.New(controllers.Config{}))
		if i == 0 {
			deploy(t, p, "web", 3)
		}
		deploy(t, p, app, 5)
		begun := time.Now()
		p.setReplicas(t, app, 50) // in progress at the stop
		stop()
		t.Log("stopped after", time.Since(begun))
	}
}

// TestRunReleasesMemory: no package variable refers to the objects of a run, neither of
// the first run nor of the last.
func TestRunReleasesMemory(t *testing.T) {
	p := start(t, controlplane.Config{})
	all := controllers.New(controllers.Config{Controllers: []string{controllers.All, "selinux-warning-controller"}})
	var freed sync.WaitGroup
	for range 3 {
		config := rest.CopyConfig(p.config)
		freed.Add(1)
		// All transports of a run refer to its token.
		token := new(token)
		runtime.AddCleanup(token, func(int) { freed.Done() }, 0)
		config.Wrap(func(transport http.RoundTripper) http.RoundTripper { return &holder{transport, token} })
		plane{p.Clientset, config}.run(t, all)()
	}
	gone := make(chan struct{})
	go func() { freed.Wait(); close(gone) }()
	testwait.True(t, "the clients of three runs are freed", func() bool {
		runtime.GC()
		select {
		case <-gone:
			return true
		default:
			return false
		}
	})
}

// token is reachable from the clients of a run.
type token struct{ _ [64]byte }

type holder struct {
	http.RoundTripper
	token *token
}
