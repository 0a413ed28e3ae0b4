// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package klogbridge_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap/zapcore"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/apiserver/pkg/util/compatibility"
	restclient "k8s.io/client-go/rest"
	basecompatibility "k8s.io/component-base/compatibility"
	"k8s.io/klog/v2"

	"github.com/kubembed/kubembed/internal/klogbridge"
	"github.com/kubembed/kubembed/internal/lifecycle"
)

// TestFatalEndsTheProcess: the host's fatal errors still end the process.
func TestFatalEndsTheProcess(t *testing.T) {
	code, stdout, stderr := child(t, "fatal")
	if code != 255 || stdout != "" {
		t.Errorf("got exit code %d, stdout %q, stderr %.1000q", code, stdout, stderr)
	}
}

func fatal() error {
	klog.Fatal("the host gives up")
	return nil
}

func TestFailedHookEndsOnlyTheHook(t *testing.T) {
	code, stdout, stderr := child(t, "hook")
	if code != 0 || stdout != "alive\n" {
		t.Errorf("got exit code %d, stdout %q, stderr %.1000q", code, stdout, stderr)
	}
}

// TestFatalOfAHooksGoroutine: a goroutine that a hook has started is not the hook. Its
// fatal errors end the process.
func TestFatalOfAHooksGoroutine(t *testing.T) {
	if code, stdout, _ := child(t, "hook's goroutine"); code != 255 || stdout != "" {
		t.Errorf("got exit code %d, stdout %q", code, stdout)
	}
}

// newServer returns upstream's API server without any API.
func newServer() (*genericapiserver.GenericAPIServer, error) {
	c := genericapiserver.NewConfig(serializer.NewCodecFactory(runtime.NewScheme()))
	c.EffectiveVersion = compatibility.DefaultComponentGlobalsRegistry.EffectiveVersionFor(basecompatibility.DefaultKubeComponent)
	c.LoopbackClientConfig = &restclient.Config{Host: "https://127.0.0.1:1"}
	c.ExternalAddress = "127.0.0.1:1"
	c.SkipOpenAPIInstallation = true
	checks := []healthz.HealthChecker{healthz.PingHealthz}
	c.HealthzChecks, c.LivezChecks, c.ReadyzChecks = checks, checks, checks
	return c.Complete(nil).New("test", genericapiserver.NewEmptyDelegate())
}

// hook runs a failing start hook of a real API server. Only the hook ends, and its
// readiness check keeps failing.
func hook() error {
	logger, logs := observed(zapcore.DebugLevel)
	detach := klogbridge.Attach(logger)
	defer func() { _ = detach() }()
	server, err := newServer()
	if err != nil {
		return err
	}
	if err := server.AddPostStartHook("good", func(genericapiserver.PostStartHookContext) error { return nil }); err != nil {
		return err
	}
	if err := server.AddPostStartHook("bad", func(genericapiserver.PostStartHookContext) error {
		return errors.New("the hook's own error")
	}); err != nil {
		return err
	}
	server.PrepareRun()
	server.RunPostStartHooks(background)
	ctx, cancel := context.WithTimeout(background, 30*time.Second)
	defer cancel()
	failed := func() bool {
		for _, m := range messages(logs) {
			if strings.HasPrefix(m, "error ") && strings.Contains(m, `PostStartHook "bad" failed: the hook's own error`) {
				return true
			}
		}
		return false
	}
	if err := lifecycle.Poll(ctx, failed); err != nil {
		return fmt.Errorf("the hook's failure was not logged: %q", messages(logs))
	}
	// klog is not left locked, and the check of the hook fails for good.
	klog.Info("after the fatal error")
	recorder := httptest.NewRecorder()
	server.Handler.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/healthz/poststarthook/bad", nil))
	if recorder.Code == http.StatusOK {
		return fmt.Errorf("the check of a failed hook: %s", recorder.Body)
	}
	return nil
}

func hookGoroutine() error {
	server, err := newServer()
	if err != nil {
		return err
	}
	if err := server.AddPostStartHook("bad", func(genericapiserver.PostStartHookContext) error {
		go klog.Fatal("started by a hook")
		return nil
	}); err != nil {
		return err
	}
	server.RunPostStartHooks(background)
	select {} // until the process ends
}
