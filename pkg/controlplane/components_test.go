// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

// part is a component made of a function.
type part struct {
	name string
	run  func(ctx context.Context, config *rest.Config, ready func()) error
}

func (p *part) Name() string { return p.name }

func (p *part) Run(ctx context.Context, config *rest.Config, ready func()) error {
	return p.run(ctx, config, ready)
}

func parts(all ...*part) controlplane.Config {
	var cfg controlplane.Config
	for _, p := range all {
		cfg.Components = append(cfg.Components, p)
	}
	return cfg
}

// idle is ready at once and does nothing.
func idle(ctx context.Context, _ *rest.Config, ready func()) error {
	ready()
	<-ctx.Done()
	return nil
}

func readyz(ctx context.Context, client kubernetes.Interface, check string) string {
	body, err := client.Discovery().RESTClient().Get().AbsPath("/readyz", check).Param("verbose", "").DoRaw(ctx)
	if err != nil {
		return string(body) + " " + err.Error()
	}
	return string(body)
}

// TestComponent follows a component from its start to its end.
func TestComponent(t *testing.T) {
	var before, who, last atomic.Value
	one := &part{name: "one", run: func(ctx context.Context, config *rest.Config, ready func()) error {
		client, err := kubernetes.NewForConfig(config)
		if err != nil {
			return err
		}
		before.Store(readyz(ctx, client, "component/one"))
		review, err := client.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
		if err != nil {
			return err
		}
		who.Store(fmt.Sprint(review.Status.UserInfo.Username, review.Status.UserInfo.Groups, config.UserAgent, config.QPS))
		ready()
		ready()
		<-ctx.Done()
		// The API server runs until components have ended.
		for range 20 {
			if _, err = client.CoreV1().Pods("").List(context.WithoutCancel(ctx), metav1.ListOptions{}); err != nil {
				break
			}
		}
		last.Store(fmt.Sprint(err))
		return err
	}}
	server, err := controlplane.Start(t.Context(), parts(one, &part{name: "two", run: idle}))
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := before.Load().(string); !strings.Contains(got, "not ready") {
		t.Errorf("/readyz/component/one before it is ready: got %q, want not ready", got)
	}
	if got := who.Load(); got != "system:one[system:masters system:authenticated]one-1" && got != "system:one[system:authenticated system:masters]one-1" {
		t.Errorf("user of the component: got %v, want system:one of system:masters", got)
	}
	if got := readyz(t.Context(), admin(t, server), ""); !strings.Contains(got, "[+]component/one ok") || !strings.Contains(got, "[+]component/two ok") {
		t.Errorf("/readyz: got %s, want both components ok", got)
	}
	closeServer(t, server)
	if last.Load() != "<nil>" {
		t.Errorf("the last request of the component: got %v, want no error", last.Load())
	}
	if server.Err() != nil {
		t.Error(server.Err())
	}
}

// failures are the ways in which a component can end too early.
var failures = map[string]struct {
	fail func() error
	want string
}{
	"panic":  {func() error { panic("no idea") }, "component bad: panic: no idea"},
	"error":  {func() error { return errors.New("out of luck") }, "component bad: out of luck"},
	"return": {func() error { return nil }, "component bad: it returned before the control plane stopped"},
	"goexit": {func() error { runtime.Goexit(); return nil }, "component bad: it returned before the control plane stopped"},
}

// TestComponentFailsAtStart: the start fails, and nothing is left.
func TestComponentFailsAtStart(t *testing.T) {
	for name, failure := range failures {
		t.Run(name, func(t *testing.T) {
			goroutines, temp, files := goleak.IgnoreCurrent(), ownTemp(t), openFiles(t)
			core, logs := observer.New(zap.ErrorLevel)
			cfg := parts(&part{name: "good", run: idle}, &part{name: "bad", run: func(context.Context, *rest.Config, func()) error { return failure.fail() }})
			cfg.Logger = zap.New(core)
			_ = wantError(t, cfg, failure.want)
			if left := entries(t, temp); len(left) != 0 {
				t.Errorf("left behind: got %v, want nothing", left)
			}
			wantOpenFiles(t, files)
			if err := leaks(goroutines); err != nil {
				t.Error(err)
			}
			stacks := logs.FilterField(zap.String("component", "bad")).Len()
			if (name == "panic") != (stacks == 1) {
				t.Errorf("stacks in the log: got %d, want 1 after a panic and 0 otherwise", stacks)
			}
		})
	}
}

// TestComponentFailsLater: the control plane stops, and the host continues.
func TestComponentFailsLater(t *testing.T) {
	for name, failure := range failures {
		t.Run(name, func(t *testing.T) {
			now := make(chan struct{})
			server := start(t, parts(&part{name: "bad", run: func(_ context.Context, _ *rest.Config, ready func()) error {
				ready()
				<-now
				return failure.fail()
			}}))
			if err := server.Err(); err != nil {
				t.Fatal(err)
			}
			close(now)
			<-server.Done()
			if err := server.Err(); err == nil || err.Error() != "controlplane: "+failure.want {
				t.Errorf("Err: %v, want %s", err, failure.want)
			}
		})
	}
}

// TestComponentNeverReady: the error of a canceled start names the component.
func TestComponentNeverReady(t *testing.T) {
	goroutines, temp := goleak.IgnoreCurrent(), ownTemp(t)
	ctx, enough := context.WithCancelCause(t.Context())
	why := errors.New("that is enough")
	_, err := controlplane.Start(ctx, parts(&part{name: "quick", run: idle}, &part{name: "slow", run: func(ctx context.Context, _ *rest.Config, _ func()) error {
		enough(why)
		<-ctx.Done()
		return nil
	}}))
	if !errors.Is(err, why) || !strings.Contains(fmt.Sprint(err), "not ready: component ") || !strings.Contains(fmt.Sprint(err), "slow") {
		t.Errorf("Start: got %v, want %v and that component slow is not ready", err, why)
	}
	if left := entries(t, temp); len(left) != 0 {
		t.Errorf("left behind: got %v, want nothing", left)
	}
	if err := leaks(goroutines); err != nil {
		t.Error(err)
	}
}

// TestComponentIgnoresItsEnd: all other parts are stopped.
func TestComponentIgnoresItsEnd(t *testing.T) {
	goroutines, temp, files := goleak.IgnoreCurrent(), ownTemp(t), openFiles(t)
	release := make(chan struct{})
	server, err := controlplane.Start(t.Context(), parts(&part{name: "good", run: idle}, &part{name: "unresponsive", run: func(_ context.Context, _ *rest.Config, ready func()) error {
		ready()
		<-release
		return nil
	}}))
	if err != nil {
		t.Fatal(err)
	}
	err = server.Close()
	if err == nil || !strings.Contains(err.Error(), "still running") || !strings.Contains(err.Error(), "component unresponsive") {
		t.Errorf("Close: got %v, want that component unresponsive is still running", err)
	}
	if left := entries(t, temp); len(left) != 0 {
		t.Errorf("left behind: got %v, want nothing", left)
	}
	wantOpenFiles(t, files)
	close(release)
	if err := leaks(goroutines); err != nil {
		t.Error(err)
	}
}

func TestBadComponents(t *testing.T) {
	var typedNil *part
	_ = wantError(t, controlplane.Config{Components: []controlplane.Component{nil, typedNil, &part{name: "Two Words"}, &part{name: "same"}, &part{name: "same"}, &part{}}},
		"Components[0]: Required value", "Components[1]: Required value", `Components[2]: Invalid value: "Two Words"`, "DNS label",
		`Components[4]: Duplicate value: "same"`, `Components[5]: Invalid value: ""`)
}
