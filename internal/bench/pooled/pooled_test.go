// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package pooled has tests with a control plane each, which the program controlplanes
// gives them.
package pooled

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kubembed/kubembed/internal/bench/work"
	"github.com/kubembed/kubembed/pkg/pool/controlplanetest"
)

var (
	news   = flag.Int("news", 0, "calls of New by TestNew")
	result = flag.String("result", "", "file that TestNew writes: a JSON array of durations")
)

// start skips the test if nothing says where the program is: it would be built.
func start(t *testing.T) *controlplanetest.ControlPlane {
	t.Helper()
	if os.Getenv("BENCH_POOL") == "" {
		t.Skip("BENCH_POOL is not set: go run ./internal/bench sets it")
	}
	return controlplanetest.New(t, controlplanetest.Config{})
}

func TestPackage(t *testing.T) {
	for i := range work.Tests {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			cp := start(t)
			cp.InstallCRDs(t, controlplanetest.CRDs{Objects: []*apiextensionsv1.CustomResourceDefinition{work.CRD(i)}})
			work.Do(t, cp.ClientConfig(), i)
		})
	}
}

// TestNew measures New in tests that follow each other. Each creates an object, so that
// there is something to reset.
func TestNew(t *testing.T) {
	if *news == 0 {
		t.Skip("without -news")
	}
	var took []time.Duration
	for i := range *news {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			began := time.Now()
			cp := start(t)
			took = append(took, time.Since(began))
			client, err := kubernetes.NewForConfig(cp.ClientConfig())
			if err != nil {
				t.Fatal(err)
			}
			settings := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings"}}
			if _, err := client.CoreV1().ConfigMaps(metav1.NamespaceDefault).Create(t.Context(), settings, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		})
	}
	data, err := json.Marshal(took)
	if err == nil {
		err = os.WriteFile(*result, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}
