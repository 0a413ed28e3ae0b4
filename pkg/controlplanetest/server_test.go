// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest_test

import (
	"context"
	"io"
	"reflect"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kubembed/kubembed/pkg/controlplanetest"
)

// withoutGuard are the methods that work after the end of the test, with the reason.
var withoutGuard = map[string]string{
	"URL":                    "an address",
	"InsecureURL":            "an address",
	"CABundle":               "public certificates",
	"KubeletServingCABundle": "public certificates",
	"WebhookServer":          "an address",
	"Done":                   "reports the end",
	"Err":                    "reports the end",
	"OnFailure":              "is documented to do nothing",
}

// checkEnded calls every method of cp, whose test has ended, and requires that the call
// fails with an error that names the test.
func checkEnded(t *testing.T, cp *controlplanetest.ControlPlane, test string) {
	t.Helper()
	value := reflect.ValueOf(cp)
	for i := range value.NumMethod() {
		name := value.Type().Method(i).Name
		var results []reflect.Value
		r := recorder{name: "TestLater"}
		r.run(func(tb controlplanetest.TB) {
			results = value.Method(i).Call(arguments(t.Context(), tb, value.Method(i).Type()))
		})
		got := "no error"
		switch err := failure(t.Context(), results); {
		case r.panicked != nil:
			t.Errorf("%s after the end: panic: %v", name, r.panicked)
			continue
		case r.failed:
			got = r.text()
		case err != nil:
			got = err.Error()
		}
		if _, ok := withoutGuard[name]; ok {
			if r.failed {
				t.Errorf("%s after the end failed with %q, want success", name, got)
			}
			continue
		}
		if !strings.Contains(got, test) {
			t.Errorf("%s after the end: got %q, want an error that names %s", name, got, test)
		}
	}
}

// arguments returns a zero value for each parameter of a method, without the variadic
// one.
func arguments(ctx context.Context, t controlplanetest.TB, method reflect.Type) []reflect.Value {
	var values []reflect.Value
	for i := range method.NumIn() {
		switch in := method.In(i); {
		case method.IsVariadic() && i == method.NumIn()-1:
		case in == reflect.TypeFor[controlplanetest.TB]():
			values = append(values, reflect.ValueOf(t))
		case in == reflect.TypeFor[context.Context]():
			values = append(values, reflect.ValueOf(ctx))
		case in == reflect.TypeFor[io.Writer]():
			values = append(values, reflect.ValueOf(io.Discard))
		default:
			values = append(values, reflect.Zero(in))
		}
	}
	return values
}

// failure returns the error among the results of a method, or the error of the first
// use of a result.
func failure(ctx context.Context, results []reflect.Value) error {
	for _, result := range results {
		switch value := result.Interface().(type) {
		case error:
			return value
		case *rest.Config:
			_, err := kubernetes.NewForConfigOrDie(value).CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
			return err
		default: // Metrics returns a prometheus.Gatherer
			if gather := result.MethodByName("Gather"); gather.IsValid() {
				return failure(ctx, gather.Call(nil))
			}
		}
	}
	return nil
}

// A checkpoint of a test does not roll back the control plane under later tests.
func TestCheckpointAfterEnd(t *testing.T) {
	t.Parallel()
	var checkpoint *controlplanetest.Checkpoint
	r := recorder{name: "TestThatTakesACheckpoint"}
	r.run(func(tb controlplanetest.TB) {
		var err error
		if checkpoint, err = controlplanetest.New(tb, controlplanetest.Config{}).Checkpoint(t.Context()); err != nil {
			tb.Fatalf("%v", err)
		}
		if err := checkpoint.Rollback(t.Context()); err != nil {
			tb.Errorf("%v", err)
		}
	})
	if r.failed {
		t.Fatal(r.text())
	}
	if err := checkpoint.Rollback(t.Context()); err == nil || !strings.Contains(err.Error(), r.name) {
		t.Errorf("Rollback after the end: got %v, want an error that names %s", err, r.name)
	}
}
