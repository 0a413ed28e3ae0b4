// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package failures has Ginkgo suites that fail on purpose, each in a process of its own:
// the tests check the dumps that they leave.
package failures

import (
	"context"
	"os"
	"testing"

	. "github.com/onsi/ginkgo/v2" //nolint:revive // as Ginkgo is used
	. "github.com/onsi/gomega"    //nolint:revive // as Gomega is used
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"

	"github.com/kubembed/kubembed/pkg/controlplanetest"
)

// A process that runs a suite gets the suite's name and the directory for dumps from the
// environment.
var (
	suiteName = os.Getenv("FAILURES_SUITE")
	config    = controlplanetest.Config{
		DumpOnFailure: os.Getenv("FAILURES_DUMP"),
		KeepOnFailure: suiteName == "keep",
	}
)

func TestMain(m *testing.M) {
	if suiteName == "shared" || suiteName == "main" {
		os.Exit(controlplanetest.Main(m, config))
	}
	os.Exit(m.Run())
}

// TestSuite runs in such a process.
func TestSuite(t *testing.T) {
	suite, ok := suites[suiteName]
	if !ok {
		t.Skip("fails on purpose, in a process of its own")
	}
	suite(t)
	if suiteName != "main" {
		RegisterFailHandler(Fail)
		RunSpecs(t, "Failures")
	}
}

var cp *controlplanetest.ControlPlane

// create creates the ConfigMap that identifies a dump, in the namespace default.
func create(name string) {
	GinkgoHelper()
	Expect(createConfigMap(name)).To(Succeed())
}

func createConfigMap(name string) error {
	client, err := kubernetes.NewForConfig(cp.ClientConfig())
	if err != nil {
		return err
	}
	klog.Error("a line of the log") // goes to the control plane's log
	_, err = client.CoreV1().ConfigMaps("default").Create(context.Background(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	return err
}

func remove(name string) {
	GinkgoHelper()
	client, err := kubernetes.NewForConfig(cp.ClientConfig())
	Expect(err).NotTo(HaveOccurred())
	Expect(client.CoreV1().ConfigMaps("default").Delete(context.Background(), name, metav1.DeleteOptions{})).To(Succeed())
}

// three defines three specs. The second one fails.
func three() {
	It("passes", func() {})
	It("fails", func() {
		create("of-the-failure")
		Fail("on purpose")
	})
	It("passes again", func() {})
}

// wrapper is a project's own TB with helpers.
type wrapper struct{ testing.TB }

var suites = map[string]func(t *testing.T){
	"before-suite": func(*testing.T) {
		BeforeSuite(func() { cp = controlplanetest.New(GinkgoT(), config) })
		Describe("A spec", three)
	},
	"ginkgo-tb": func(*testing.T) {
		BeforeSuite(func() { cp = controlplanetest.New(GinkgoTB(), config) })
		Describe("A spec", three)
	},
	"wrapped": func(*testing.T) {
		BeforeSuite(func() { cp = controlplanetest.New(wrapper{GinkgoTB()}, config) })
		Describe("A spec", three)
	},
	"passing": func(*testing.T) {
		BeforeSuite(func() { cp = controlplanetest.New(GinkgoT(), config) })
		JustAfterEach(func() { cp.OnFailure(GinkgoT()) })
		Describe("A spec", func() {
			It("passes", func() { cp.Namespace(GinkgoT()) })
			PIt("is pending", func() {})
			It("is skipped", func() { Skip("on purpose") })
		})
	},
	"before-suite-fails": func(*testing.T) {
		BeforeSuite(func() {
			cp = controlplanetest.New(GinkgoT(), config)
			create("of-the-failure")
			Fail("on purpose")
		})
		It("does not run", func() {})
	},
	"panics": func(*testing.T) {
		BeforeSuite(func() { cp = controlplanetest.New(GinkgoT(), config) })
		It("panics", func() {
			create("of-the-failure")
			panic("on purpose")
		})
	},
	"after-each-fails": func(*testing.T) {
		BeforeSuite(func() { cp = controlplanetest.New(GinkgoT(), config) })
		AfterEach(func() { Fail("on purpose") })
		It("passes", func() { create("of-the-failure") })
	},
	"before-all": func(*testing.T) {
		Describe("A spec", Ordered, func() {
			BeforeAll(func() { cp = controlplanetest.New(GinkgoT(), config) })
			three()
		})
	},
	"before-all-continues": func(*testing.T) {
		Describe("Before it", func() { It("fails", func() { Fail("without a control plane") }) })
		Describe("A spec", Ordered, ContinueOnFailure, func() {
			BeforeAll(func() { cp = controlplanetest.New(GinkgoT(), config) })
			three()
		})
	},
	"before-all-passes": func(*testing.T) {
		Describe("Before it", func() { It("fails", func() { Fail("without a control plane") }) })
		Describe("A spec", Ordered, ContinueOnFailure, func() {
			BeforeAll(func() { cp = controlplanetest.New(GinkgoT(), config) })
			It("passes", func() {})
			It("passes too", func() {})
		})
	},
	"before-each": func(*testing.T) {
		BeforeEach(func() { cp = controlplanetest.New(GinkgoT(), config) })
		Describe("A spec", three)
	},
	"on-failure": func(*testing.T) {
		BeforeSuite(func() { cp = controlplanetest.New(GinkgoT(), config) })
		JustAfterEach(func() { cp.OnFailure(GinkgoT()) })
		AfterEach(func() {
			if CurrentSpecReport().Failed() {
				remove("of-the-failure")
			}
		})
		Describe("A spec", three)
	},
	"namespace": func(*testing.T) {
		BeforeSuite(func() { cp = controlplanetest.New(GinkgoT(), config) })
		BeforeEach(func() { cp.Namespace(GinkgoT()) })
		Describe("A spec", three)
	},
	"keep": func(*testing.T) {
		BeforeSuite(func() { cp = controlplanetest.New(GinkgoT(), config) })
		Describe("A spec", three)
	},
	"shared": func(*testing.T) {
		BeforeSuite(func() { cp = controlplanetest.Shared(GinkgoT()) })
		Describe("A spec", three)
	},
	"parent": func(t *testing.T) {
		t.Run("parent", func(t *testing.T) {
			cp = controlplanetest.New(t, config)
			t.Run("child", func(t *testing.T) {
				t.Parallel()
				cp.Namespace(t)
				if err := createConfigMap("of-the-failure"); err != nil {
					t.Error(err)
				}
				t.Error("on purpose")
			})
		})
	},
	// One test calls Shared. Another one uses the result, and fails.
	"main": func(t *testing.T) {
		t.Run("has", func(t *testing.T) { cp = controlplanetest.Shared(t) })
		t.Run("fails", func(t *testing.T) {
			klog.Error("a line of the log")
			t.Error("on purpose")
		})
	},
}
