// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/pflag"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	kubeletapp "k8s.io/kubernetes/cmd/kubelet/app"
	"k8s.io/kubernetes/cmd/kubelet/app/options"
	kubeletconfig "k8s.io/kubernetes/pkg/kubelet/apis/config"
	cadvisortest "k8s.io/kubernetes/pkg/kubelet/cadvisor/testing"
	"k8s.io/kubernetes/pkg/kubelet/cm"
	"k8s.io/kubernetes/pkg/kubelet/kubeletconfig/configfiles"
	"k8s.io/kubernetes/pkg/kubemark"
	utilfs "k8s.io/kubernetes/pkg/util/filesystem"
)

// kubeletMain is the kubelet of k8s.io/kubernetes/cmd/kubelet with its flags and
// configuration file, including the certificate request. Parts that need root, cgroups
// or a container runtime are fakes, as in upstream's kubemark.
func kubeletMain(args []string) error {
	if err := stampVersion(); err != nil {
		return err
	}
	ctx, stop := untilSignal()
	defer stop()
	server, err := kubeletServer(ctx, args)
	if err != nil {
		return err
	}
	containers, err := startContainers(server.ContainerRuntimeEndpoint, server.RootDirectory)
	if err != nil {
		return err
	}
	defer containers.stop()

	// The kubelet creates its clients with its certificates, and its CRI client,
	// itself.
	dependencies := kubemark.NewHollowKubelet(&server.KubeletFlags, &server.KubeletConfiguration, nil, nil,
		&cadvisortest.Fake{NodeName: server.HostnameOverride}, nil, nil, cm.NewStubContainerManager()).KubeletDeps
	dependencies.KubeClient, dependencies.HeartbeatClient = nil, nil
	if dependencies.TLSOptions, err = kubeletapp.InitializeTLS(ctx, &server.KubeletFlags, &server.KubeletConfiguration); err != nil {
		return err
	}
	if postsEvents() {
		dependencies.Recorder = nil // the kubelet creates a real one
	}
	return kubeletapp.Run(ctx, server, dependencies, utilfeature.DefaultFeatureGate)
}

// kubeletServer parses flags, and the configuration file that they name.
func kubeletServer(ctx context.Context, args []string) (*options.KubeletServer, error) {
	flags := options.NewKubeletFlags()
	set := pflag.NewFlagSet("kubelet", pflag.ContinueOnError)
	flags.AddFlags(set)
	if err := set.Parse(args); err != nil {
		return nil, err
	}
	if err := options.ValidateKubeletFlags(flags); err != nil {
		return nil, err
	}
	loader, err := configfiles.NewFsLoader(&utilfs.DefaultFs{}, flags.KubeletConfigFile)
	if err != nil {
		return nil, err
	}
	config, err := loader.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flags.KubeletConfigFile, err)
	}
	if config.Authorization.Mode != kubeletconfig.KubeletAuthorizationModeWebhook || config.Authentication.Anonymous.Enabled {
		return nil, fmt.Errorf("%s: differs from a kubelet's configuration in production", flags.KubeletConfigFile)
	}
	return &options.KubeletServer{KubeletFlags: *flags, KubeletConfiguration: *config}, nil
}

// postsEvents reports whether kubelets have a real event recorder. It comes with the
// out-of-memory watcher, which ends a kubelet that may not read the kernel's log.
func postsEvents() bool {
	f, err := os.Open("/dev/kmsg")
	if err != nil {
		return false
	}
	_ = f.Close()
	return true
}
