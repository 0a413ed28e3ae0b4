// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"net"
	"path/filepath"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/kubembed/kubembed/internal/golden"
	"github.com/kubembed/kubembed/internal/klogbridge"
	"github.com/kubembed/kubembed/pkg/apiserver"
)

// servedDifferently are all differences between this server and kube-apiserver of the
// same version with --authorization-mode=Node,RBAC, in served APIs, defaults and created
// objects.
var servedDifferently = []golden.Difference{
	{File: golden.Features, Lines: `-(ContextualLogging|LoggingAlphaOptions|LoggingBetaOptions) .*`,
		Reason: "kube-apiserver registers these gates with the flags of its logger, which is Config.Logger here"},
	{File: golden.Objects, Lines: `[-+]configmaps kube-system/extension-apiserver-authentication .*`,
		Reason: "aggregation is always on here: the front proxy's CA is published, for which kube-apiserver needs --requestheader-client-ca-file"},
	{File: golden.Objects, Lines: `\+clusterrole(binding)?s\.rbac\.authorization\.k8s\.io kubembed:.*`,
		Reason: "kubelets need them to join, and kubeadm and other installers create them"},
	{File: golden.Admission, Lines: `\+mutating NodeRestriction`, Reason: "on by default, as with all installers: kubelets may join"},
	{File: golden.Admission, Lines: `-(mutating|validating) ServiceAccount`, Reason: "off while Config.Controllers is: no pod could be created without the controllers of service accounts"},
	{File: golden.Admission, Lines: `-mutating TaintNodesByCondition`,
		Reason: "off until Config.EnableAdmissionPlugins has it: only the node lifecycle controller takes its taint away, and without components there is none"},
}

// TestServedAsByKubeAPIServer compares with the real kube-apiserver: discovery, schemas,
// feature gates, admission plugins, and all objects. servedDifferently lists the
// differences.
func TestServedAsByKubeAPIServer(t *testing.T) {
	core, logs := observer.New(zapcore.DebugLevel)
	detach := klogbridge.Attach(zap.New(core))
	t.Cleanup(func() { _ = detach() })
	p := startPlane(t, func(c *apiserver.Config) {
		c.AdvertiseAddress = net.IPv4(192, 0, 2, 1)
	})
	ours, err := golden.Describe(t.Context(), p.ClientConfig())
	if err != nil {
		t.Fatal(err)
	}
	klogbridge.Flush()
	text := ""
	for _, entry := range logs.All() {
		text += entry.Message + "\n"
	}
	ours[golden.Admission] = golden.AdmissionIn(text)
	if err := golden.Compare(filepath.Join("testdata", "kube-apiserver-"+apiserver.KubernetesVersion), ours, servedDifferently); err != nil {
		t.Error(err)
	}
}
