// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"fmt"
	"runtime"

	utilversion "k8s.io/apimachinery/pkg/util/version"
	apimachineryversion "k8s.io/apimachinery/pkg/version"
	"k8s.io/component-base/compatibility"
	"k8s.io/component-base/version"

	"github.com/kubembed/kubembed/internal/apiserver/bootstrap"
	"github.com/kubembed/kubembed/internal/versionskew"
)

// KubernetesVersion is the embedded Kubernetes release: the version of k8s.io/kubernetes
// in go.mod, which a program cannot always read from its own build information.
const KubernetesVersion = "v1.37.2"

// ErrVersionSkew is returned by New when the stored data are of a Kubernetes version that
// this release does not work with.
var ErrVersionSkew = versionskew.Err

// effectiveVersion is upstream's effective version with the embedded release. A library
// is linked without upstream's version stamps, and upstream would report v0.0.0-master,
// for which kubectl warns of version skew.
type effectiveVersion struct {
	compatibility.EffectiveVersion
}

func (e effectiveVersion) Info() *apimachineryversion.Info {
	info := version.Get()
	if upstream := e.EffectiveVersion.Info(); upstream != nil {
		info = *upstream
	}
	embedded := utilversion.MustParseSemantic(KubernetesVersion)
	info.Major, info.Minor = fmt.Sprint(embedded.Major()), fmt.Sprint(embedded.Minor())
	info.GitVersion = KubernetesVersion
	info.GitCommit, info.GitTreeState, info.BuildDate = "", "", ""
	return &info
}

// serverUserAgent is the User-Agent of the server's requests to itself. It is that of
// kube-apiserver.
const serverUserAgent = bootstrap.ServerManager + "/" + KubernetesVersion + " (" + runtime.GOOS + "/" + runtime.GOARCH + ") kubernetes"
