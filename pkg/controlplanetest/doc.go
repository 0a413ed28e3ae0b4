// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package controlplanetest gives tests a Kubernetes control plane: etcd, API server and
// core controllers in the test's own process. It downloads nothing, reads no environment
// variable, and leaves nothing behind. Package
// github.com/kubembed/kubembed/pkg/pool/controlplanetest has the same API without an API
// server in the test binary, for many packages or another version of Kubernetes.
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
//		"github.com/kubembed/kubembed/pkg/controlplanetest"
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
// # One control plane for each test, or one for all
//
// [New] starts a control plane for one test and stops it when the test ends. Such tests
// may change anything in it and run in parallel. A start that takes longer than three
// minutes fails the test.
//
// [Shared] returns one control plane to all tests of a package. [Main] stops it:
//
//	func TestMain(m *testing.M) {
//		os.Exit(controlplanetest.Main(m, controlplanetest.Config{}))
//	}
//
//	func TestWidget(t *testing.T) {
//		t.Parallel()
//		cp := controlplanetest.Shared(t)
//		namespace := cp.Namespace(t)
//		...
//	}
//
// Tests with their own namespaces run in parallel on it. Tests that change cluster-scoped
// objects run one after another, with a Reset between them.
//
// # The end of a test
//
// A [ControlPlane] is usable until its test ends. Requests in flight end with the test,
// also when it fails or panics, so that a forgotten watch or informer delays nothing.
// Later requests and calls fail with an error that names the test. Programs with a
// kubeconfig file lose their connection instead.
//
// A panic ends the test binary. Before that, all control planes stop and remove their
// temporary directories, unless the panic is in a goroutine other than the test's.
//
// # Users
//
// [ControlPlane.ClientConfig] is for an administrator. [ControlPlane.UserConfig] is for
// any user, over TLS with a client certificate. [ControlPlane.ImpersonatedConfig] acts as
// a user without a connection, and [ControlPlane.ServiceAccountConfig] as a service
// account. [ControlPlane.KubeconfigFile] is for other programs.
//
// # When a test fails
//
// The test logs the control plane's log. Three fields of [Config] give more:
//
//   - DumpOnFailure writes all objects, events and logs to a directory, for a CI job to
//     keep.
//   - KeepOnFailure keeps the control plane running, for a look with kubectl.
//   - Audit records all requests, and [ControlPlane.AuditTrail] returns requests of the
//     code under test.
//
// The test that owns the control plane does this at its end, also for failed subtests and
// Ginkgo specs. [ControlPlane.OnFailure] does it at once for one of these. Namespace
// arranges for that.
//
// # Suites written for envtest
//
// Config.BehaveLikeEnvtest disables the controllers and uses envtest's admission plugins:
// only the test writes to its objects. MIGRATION.md beside this file covers the rest of
// envtest.
//
// # Ginkgo and others
//
// Functions take a [TB], which *testing.T implements. With Ginkgo, pass GinkgoT in
// BeforeSuite, BeforeAll or BeforeEach:
//
//	var cp *controlplanetest.ControlPlane
//
//	var _ = BeforeSuite(func() {
//		config := controlplanetest.Config{DumpOnFailure: "dump"}
//		cp = controlplanetest.New(GinkgoT(), config)
//	})
//
//	var _ = JustAfterEach(func() { cp.OnFailure(GinkgoT()) })
//
// Without the last line the fixture notices a failed spec at the end of the suite, and
// the dump shows the state at that time.
package controlplanetest
