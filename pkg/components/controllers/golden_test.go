// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/kubembed/kubembed/internal/golden"
	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/components/controllers"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// createdDifferently lists all differences between the objects of a new control plane
// with this package's controllers and of kube-apiserver with kube-controller-manager.
var createdDifferently = []golden.Difference{
	{
		File: golden.Objects, Lines: `[-+]configmaps kube-system/extension-apiserver-authentication .*`,
		Reason: "aggregation is always on here: the front proxy's CA is published, for which kube-apiserver needs --requestheader-client-ca-file",
	},
	{
		File: golden.Objects, Lines: `\+clusterrole(binding)?s\.rbac\.authorization\.k8s\.io kubembed:.*`,
		Reason: "what kubelets that join need, which kubeadm and others create beside kube-apiserver",
	},
	{
		File: golden.Objects, Lines: `[-+](clustertrustbundles|servicecidrs)\..* .*"(kube-controller-manager|[^" ]+\.test) Update .*`,
		Reason: "managers of fields have the name of the program, which is the host's here",
	},
}

// TestObjectsOfKubeControllerManager compares with the real programs.
func TestObjectsOfKubeControllerManager(t *testing.T) {
	p := start(t, controlplane.Config{AdvertiseAddress: "192.0.2.1", Components: []controlplane.Component{controllers.New(controllers.Config{})}})
	dir := filepath.Join("..", "..", "apiserver", "testdata", "kube-controller-manager-"+apiserver.KubernetesVersion)
	testwait.UntilWithin(t, 2*testwait.Timeout, "the objects are those of the real programs", func(ctx context.Context) error {
		ours, err := golden.DescribeObjects(ctx, p.config)
		if err != nil {
			return err
		}
		return golden.Compare(dir, ours, createdDifferently)
	})
}
