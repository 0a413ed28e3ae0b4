// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build staging

// Package staging keeps the staging modules that k8s.io/kubernetes requires in go.mod: go
// mod tidy reads files with any build tag. Nothing builds this package.
package staging

import (
	_ "k8s.io/api/core/v1"
	_ "k8s.io/apiextensions-apiserver/pkg/apiserver"
	_ "k8s.io/apimachinery/pkg/version"
	_ "k8s.io/apiserver/pkg/server"
	_ "k8s.io/cli-runtime/pkg/printers"
	_ "k8s.io/client-go/rest"
	_ "k8s.io/cloud-provider"
	_ "k8s.io/cluster-bootstrap/token/api"
	_ "k8s.io/code-generator"
	_ "k8s.io/component-base/version"
	_ "k8s.io/component-helpers/node/util"
	_ "k8s.io/controller-manager/controller"
	_ "k8s.io/cri-api/pkg/apis/runtime/v1"
	_ "k8s.io/cri-client/pkg/util"
	_ "k8s.io/cri-streaming/pkg/streaming"
	_ "k8s.io/csi-translation-lib"
	_ "k8s.io/dynamic-resource-allocation/structured"
	_ "k8s.io/endpointslice"
	_ "k8s.io/externaljwt/apis/v1"
	_ "k8s.io/kms/apis/v2"
	_ "k8s.io/kube-aggregator/pkg/apiserver"
	_ "k8s.io/kube-controller-manager/config/v1alpha1"
	_ "k8s.io/kube-proxy/config/v1alpha1"
	_ "k8s.io/kube-scheduler/config/v1"
	_ "k8s.io/kubectl/pkg/scheme"
	_ "k8s.io/kubelet/config/v1beta1"
	_ "k8s.io/metrics/pkg/apis/metrics/v1beta1"
	_ "k8s.io/mount-utils"
	_ "k8s.io/pod-security-admission/api"
	_ "k8s.io/sample-apiserver/pkg/apiserver"
	_ "k8s.io/streaming/pkg/httpstream"
)
