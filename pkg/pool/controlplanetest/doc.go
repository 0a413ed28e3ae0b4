// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package controlplanetest gives tests a Kubernetes control plane that another process
// keeps ready: the program controlplanes. Test binaries link client-go and no API server,
// and the module of the tests may have another version of Kubernetes than the control
// plane, from v0.34 on. Otherwise it is package
// github.com/kubembed/kubembed/pkg/controlplanetest, with the same names: a test moves
// from one to the other by its import path.
//
// The module and the program, which is a tool of the test's module:
//
//	go get github.com/kubembed/kubembed/pkg/pool/controlplanetest
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
// # One control plane for each test, or one for all
//
// [New] gives a test a control plane of its own until the test ends. [Shared] returns one
// to all tests of a package, and [Main] gives it back:
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
// The documentation of the other package has more about the end of a test, users, failed
// tests, and suites for envtest or with Ginkgo. It holds for both.
//
// # The program
//
// The first test that needs the program builds it, which takes minutes once, and starts
// it. All tests of the user with the same program share it, and it ends half a minute
// after the last one. "go tool controlplanes status" lists its control planes with their
// tests, and "go tool controlplanes stop" ends it.
//
// Not all tests that run at once get a control plane at once. Beyond twice as many
// control planes as processors (GOMAXPROCS) and two more, a test first waits some seconds
// for the control plane of a test that ends. Then one starts for it: there is no limit. A
// start that takes longer than thirty minutes, with the build of the program, fails the
// test, and so does a wait of three minutes for a control plane.
//
// A control plane belongs to one test process. When that process ends, for whatever
// reason, the clients of the control plane are disconnected. The control plane then goes
// back to the state of its start for another test, or is discarded, for example when it
// has issued certificates.
//
// If the program ends, the tests that have a control plane of it fail with the path of
// its log, and the next test starts another.
//
// # Another version of Kubernetes
//
// A tool in go.mod raises the versions of the module to its own. To keep them, the tool
// has a file of its own, which Config.Modfile names:
//
//	go mod init -modfile=tools.mod tools
//	go get -tool -modfile=tools.mod github.com/kubembed/kubembed/pkg/controlplanetest/controlplanes
//
// README.md of the module has the rest: upgrades, prebuilt programs, CI and containers.
//
// # Differences from the fixture in the test's process
//
//   - Components, plugins and other Go values cannot be in another process:
//     Config.ControlPlane is a [ControlPlaneConfig], with the scheduler, the controllers
//     and simulated nodes by name. Its other fields have the names they have in
//     controlplane.Config. There is no DataDir, no listener and no logger.
//   - [Config] also has Program, Modfile and Idle.
//   - [AuditEvent] and [KeyPair] are types of this package, with the same fields and
//     methods as auditv1.Event and pki.KeyPair.
//   - [ControlPlane] has no Metrics, EtcdStatus, Members, Reencrypt, InsecureURL,
//     KubeletServingCABundle, PKI, NewKubeconfig, TakeSnapshot and WriteSnapshot.
//   - ClientConfig is a connection over TLS with a token, and not in memory.
//   - The log of a failed test has the lines of the control plane at the level info and
//     above. klog's lines in it may come from other control planes of the program.
package controlplanetest
