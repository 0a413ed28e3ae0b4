// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package suite

import (
	"context"
	"crypto/tls"
	"net"
	"strconv"

	. "github.com/onsi/ginkgo/v2" //nolint:revive // as Ginkgo is used
	. "github.com/onsi/gomega"    //nolint:revive // as Gomega is used
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	controllertest "github.com/kubembed/kubembed/examples/controller-test"
)

// crdPaths and webhookPaths are the directories of controller-gen.
var (
	crdPaths     = []string{"../../controller-test/config/crd"}
	webhookPaths = []string{"../../controller-test/config/webhook"}
)

// k8sClient is the client of the specs.
var k8sClient client.Client

// startManager starts the program under test, with its webhooks at host and port,
// and returns when they answer. The program ends after the suite.
func startManager(cfg *rest.Config, host string, port int, certDir string) {
	GinkgoHelper()
	ctrl.SetLogger(GinkgoLogr)
	mgr, err := ctrl.NewManager(cfg, ctrl.Options{
		Scheme:        controllertest.Scheme(),
		Metrics:       metricsserver.Options{BindAddress: "0"},
		WebhookServer: webhook.NewServer(webhook.Options{Host: host, Port: port, CertDir: certDir}),
	})
	Expect(err).NotTo(HaveOccurred())
	Expect(controllertest.Setup(mgr)).To(Succeed())
	Expect(controllertest.SetupWebhooks(mgr)).To(Succeed())
	k8sClient, err = client.New(cfg, client.Options{Scheme: controllertest.Scheme()})
	Expect(err).NotTo(HaveOccurred())

	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	DeferCleanup(func() {
		cancel()
		Expect(<-ended).To(Succeed())
	})

	address := net.JoinHostPort(host, strconv.Itoa(port))
	Eventually(func() error {
		conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			return err
		}
		return conn.Close()
	}, "10s", "20ms").Should(Succeed())
}
