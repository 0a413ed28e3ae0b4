// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package controlplanetest gives tests a Kubernetes control plane that another process
// keeps ready: the program controlplanes. Test binaries do not link an API server, and
// the module of the tests may have another version of Kubernetes than the control plane.
// Otherwise it is package github.com/kubembed/kubembed/pkg/controlplanetest, with the
// same names: a test moves from the one to the other by its import.
//
// The program is a tool of the module:
//
//	go get -tool github.com/kubembed/kubembed/pkg/controlplanetest/controlplanes
//
// A complete test:
//
//	package widgets_test
//
//	import (
//		"testing"
//
//		corev1 "k8s.io/api/core/v1"
//		metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
//		"k8s.io/client-go/kubernetes"
//
//		"github.com/kubembed/kubembed/pkg/pool/controlplanetest"
//	)
//
//	func TestConfigMap(t *testing.T) {
//		t.Parallel()
//		cp := controlplanetest.New(t, controlplanetest.Config{})
//		client := kubernetes.NewForConfigOrDie(cp.ClientConfig())
//
//		settings := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings"}}
//		configMaps := client.CoreV1().ConfigMaps("default")
//		if _, err := configMaps.Create(t.Context(), settings, metav1.CreateOptions{}); err != nil {
//			t.Fatal(err)
//		}
//	}
//
// # The program
//
// The first test that needs the program builds it, which takes minutes once, and starts
// it. All tests of the user with the same program share it, and it ends half a minute
// after the last one. "go tool controlplanes status" lists its control planes, and "go
// tool controlplanes stop" ends it.
//
// A control plane belongs to one test. When the test's process ends, for whatever reason,
// its clients are disconnected. The control plane then goes back to the state of its
// start for another test, or is discarded, for example when it has issued certificates.
//
// A module whose dependencies do not go together with those of the program has the tool
// in a file of its own, which Config.Modfile names:
//
//	cp go.mod tools.mod
//	go get -tool -modfile=tools.mod github.com/kubembed/kubembed/pkg/controlplanetest/controlplanes
//
// # Differences from the fixture in the test's process
//
// Components and plugins in Go cannot be in another process: Config.ControlPlane has the
// scheduler, the controllers and simulated nodes by name. ControlPlane has no Metrics and
// no calls about the members of etcd.
package controlplanetest
