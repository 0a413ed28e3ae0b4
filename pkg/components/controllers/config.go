// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/util/validation/field"
	configv1alpha1 "k8s.io/kube-controller-manager/config/v1alpha1"
	kubectrlmgrconfig "k8s.io/kubernetes/pkg/controller/apis/config"
	"k8s.io/kubernetes/pkg/controller/apis/config/scheme"
	"k8s.io/kubernetes/pkg/controller/apis/config/v1alpha1"
	netutils "k8s.io/utils/net"
)

// Config configures the controllers. Its zero value is the default of
// kube-controller-manager.
type Config struct {
	// Controllers are the controllers to run: the sets [Workloads], [Nodes] and
	// [All], and single controllers by upstream's names and aliases, such as
	// "deployment-controller" or "deployment". A name with a leading minus is
	// excluded, in any position: {All, "-node-lifecycle-controller"}. [Names] returns
	// the names. Controllers that every control plane runs itself are invalid. If
	// empty, or if all items have a minus, All.
	Controllers []string

	// PodCIDR is the IP range from which nodes get their pod ranges (spec.podCIDR), a
	// /24 each, or a /64 with IPv6: like "10.244.0.0/16". For dual-stack, two ranges
	// separated by a comma. It must not overlap with other networks of the workers. If
	// empty, nodes get no range, and node-ipam-controller does not run.
	PodCIDR string

	// Customize modifies the settings that are flags of kube-controller-manager, from
	// upstream's defaults, PodCIDR, and a NodeLifecycleController.NodeMonitorPeriod of
	// half a second, where upstream has five: for example a shorter
	// NodeLifecycleController.NodeMonitorGracePeriod, or
	// DeploymentController.ConcurrentDeploymentSyncs. It may be called several times,
	// and must do the same each time. Settings of a separate process have no effect:
	// the fields of Generic, except MinResyncPeriod, and the fields of controllers that
	// this package does not have. If nil, these defaults.
	Customize func(*kubectrlmgrconfig.KubeControllerManagerConfiguration)

	// Logger receives the log of the controllers: upstream's information at debug
	// level, and its errors as warnings, because it retries most of them. Lines above
	// klog's verbosity 0 are logged only if the host has raised klog's verbosity. If
	// nil, the logger of the control plane, named after the component.
	Logger *zap.Logger
}

// clone returns a deep copy of c.
func (c Config) clone() Config {
	c.Controllers = slices.Clone(c.Controllers)
	return c
}

// Validate reports all problems in one error that names the fields. Only Run finds
// settings of Customize that upstream does not accept.
func (c Config) Validate() error {
	_, _, err := c.clone().resolve()
	return err
}

// resolve returns upstream's configuration and the controllers to run.
func (c Config) resolve() (*kubectrlmgrconfig.KubeControllerManagerConfiguration, []controller, error) {
	settings, err := c.settings()
	if err != nil {
		return nil, nil, fmt.Errorf("controllers: upstream's defaults: %w", err)
	}
	var errs field.ErrorList
	ipam := settings.KubeCloudShared.AllocateNodeCIDRs
	if ipam {
		if err := validatePodCIDR(settings); err != nil {
			errs = append(errs, field.Invalid(field.NewPath("PodCIDR"), settings.KubeCloudShared.ClusterCIDR, err.Error()))
		}
	}
	selected, selectionErrs := selectControllers(c.Controllers, ipam)
	errs = append(errs, selectionErrs...)
	if len(errs) > 0 {
		return nil, nil, fmt.Errorf("controllers: invalid Config: %w", errs.ToAggregate())
	}
	return settings, selected, nil
}

// settings returns the configuration of kube-controller-manager.
func (c Config) settings() (*kubectrlmgrconfig.KubeControllerManagerConfiguration, error) {
	defaults := configv1alpha1.KubeControllerManagerConfiguration{}
	scheme.Scheme.Default(&defaults)
	settings := &kubectrlmgrconfig.KubeControllerManagerConfiguration{}
	if err := v1alpha1.Convert_v1alpha1_KubeControllerManagerConfiguration_To_config_KubeControllerManagerConfiguration(&defaults, settings, nil); err != nil {
		return nil, err
	}
	setFlagDefaults(settings)
	settings.NodeLifecycleController.NodeMonitorPeriod.Duration = nodeMonitorPeriod
	// Upstream allocates by default, and then fails without a range.
	settings.KubeCloudShared.AllocateNodeCIDRs = c.PodCIDR != ""
	settings.KubeCloudShared.ClusterCIDR = c.PodCIDR
	if c.Customize != nil {
		c.Customize(settings)
	}
	return settings, nil
}

// podCIDRs returns the configured ranges, one or two.
func podCIDRs(settings *kubectrlmgrconfig.KubeControllerManagerConfiguration) ([]*net.IPNet, error) {
	ranges, err := netutils.ParseCIDRs(strings.Split(strings.ReplaceAll(settings.KubeCloudShared.ClusterCIDR, " ", ""), ","))
	if err != nil {
		return nil, errors.New(`must be an IP range like "10.244.0.0/16", or one of each family with a comma between them`)
	}
	if dual, _ := netutils.IsDualStackCIDRs(ranges); len(ranges) > 2 || len(ranges) == 2 && !dual {
		return nil, errors.New("two ranges must be one of IPv4 and one of IPv6")
	}
	return ranges, nil
}

// validatePodCIDR finds problems that upstream finds only when it creates the controller.
func validatePodCIDR(settings *kubectrlmgrconfig.KubeControllerManagerConfiguration) error {
	ranges, err := podCIDRs(settings)
	if err != nil {
		return err
	}
	for i, mask := range nodeMasks(settings, ranges) {
		if ones, _ := ranges[i].Mask.Size(); ones > mask {
			return fmt.Errorf("%s has no room for a node's /%d", ranges[i], mask)
		}
	}
	return nil
}

// nodeMasks returns the mask size of a node's range for each of ranges, as upstream's
// setNodeCIDRMaskSizes.
func nodeMasks(settings *kubectrlmgrconfig.KubeControllerManagerConfiguration, ranges []*net.IPNet) []int {
	ipam := settings.NodeIPAMController
	masks := make([]int, len(ranges))
	for i, r := range ranges {
		if netutils.IsIPv6CIDR(r) {
			masks[i] = int(cmp.Or(ipam.NodeCIDRMaskSizeIPv6, ipam.NodeCIDRMaskSize, 64))
		} else {
			masks[i] = int(cmp.Or(ipam.NodeCIDRMaskSizeIPv4, ipam.NodeCIDRMaskSize, 24))
		}
	}
	return masks
}
