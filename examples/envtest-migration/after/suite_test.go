// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package suite

import (
	"testing"

	. "github.com/onsi/ginkgo/v2" //nolint:revive // as Ginkgo is used
	. "github.com/onsi/gomega"    //nolint:revive // as Gomega is used

	"github.com/kubembed/kubembed/pkg/controlplanetest"
)

func TestPages(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "Pages")
}

// GinkgoT takes the place of *testing.T.
var _ controlplanetest.TB = FullGinkgoTInterface(nil)

var _ = BeforeSuite(func() {
	cp := controlplanetest.New(GinkgoT(), controlplanetest.Config{
		CRDs: controlplanetest.CRDs{Paths: crdPaths},
		Webhooks: controlplanetest.Webhooks{
			Paths:      webhookPaths,
			Conversion: []string{"pages.site.example.com"},
		},
	})
	webhooks := cp.WebhookServer()
	startManager(cp.ClientConfig(), webhooks.Host, webhooks.Port, webhooks.CertDir)
})
