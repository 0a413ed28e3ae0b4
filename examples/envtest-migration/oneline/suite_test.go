// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package suite

import (
	"testing"

	. "github.com/onsi/ginkgo/v2" //nolint:revive // as Ginkgo is used
	. "github.com/onsi/gomega"    //nolint:revive // as Gomega is used
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	controllertest "github.com/kubembed/kubembed/examples/controller-test"
	"github.com/kubembed/kubembed/pkg/controlplanetest"
)

func TestPages(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "Pages")
}

var _ = BeforeSuite(func() {
	existing := true
	testEnv := &envtest.Environment{
		UseExistingCluster:    &existing,
		Config:                controlplanetest.New(GinkgoT(), controlplanetest.Config{BehaveLikeEnvtest: true}).ClientConfig(),
		Scheme:                controllertest.Scheme(),
		CRDDirectoryPaths:     crdPaths,
		ErrorIfCRDPathMissing: true,
		WebhookInstallOptions: envtest.WebhookInstallOptions{Paths: webhookPaths},
	}
	cfg, err := testEnv.Start()
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(testEnv.Stop)

	webhooks := testEnv.WebhookInstallOptions
	startManager(cfg, webhooks.LocalServingHost, webhooks.LocalServingPort, webhooks.LocalServingCertDir)
})
