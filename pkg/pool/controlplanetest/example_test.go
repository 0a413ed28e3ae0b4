// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest_test

import (
	"context"
	"fmt"
	"os"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kubembed/kubembed/pkg/pool/controlplanetest"
)

// Example is a test. Examples have no *testing.T, so t is a TB of the example's own.
func Example() {
	test := func(t controlplanetest.TB) {
		cp := controlplanetest.New(t, controlplanetest.Config{Audit: true})
		namespace := cp.Namespace(t)

		// The code under test.
		config := cp.ClientConfig()
		config.UserAgent = "widget-controller"
		client := kubernetes.NewForConfigOrDie(config)
		settings := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings"}}
		if _, err := client.CoreV1().ConfigMaps(namespace).Create(context.Background(), settings, metav1.CreateOptions{}); err != nil {
			t.Fatalf("%v", err)
		}

		for _, request := range cp.AuditTrail(t, controlplanetest.AuditFilter{UserAgent: "widget-controller"}) {
			fmt.Println(request.Verb, request.ObjectRef.Resource, request.ObjectRef.Name, request.ResponseStatus.Code)
		}
	}

	t := &exampleTest{}
	defer t.end()
	test(t)
	// Output: create configmaps settings 201
}

// exampleTest is a TB outside of a test.
type exampleTest struct{ cleanups []func() }

func (t *exampleTest) Helper()                           {}
func (t *exampleTest) Name() string                      { return "Example" }
func (t *exampleTest) Failed() bool                      { return false }
func (t *exampleTest) Logf(format string, args ...any)   { fmt.Printf(format+"\n", args...) }
func (t *exampleTest) Errorf(format string, args ...any) { t.Logf(format, args...) }
func (t *exampleTest) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (t *exampleTest) TempDir() string                   { return os.TempDir() }
func (t *exampleTest) Cleanup(f func())                  { t.cleanups = append(t.cleanups, f) }

func (t *exampleTest) end() {
	for _, cleanup := range slices.Backward(t.cleanups) {
		cleanup()
	}
}
