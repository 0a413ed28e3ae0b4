package controllers

import (
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

// Config says which controllers run, and how. Its zero value is what
// kube-controller-manager runs by default.
type Config struct {
	// Controllers are the controllers to run: the sets [Workloads], [Nodes] and
	// [All], and single controllers by upstream's names and aliases, such as
	// "deployment-controller" or "deployment". One with a minus in front is left
	// out, wherever it stands: {All, "-node-lifecycle-controller"}. [Known] lists
	// the names. Those that every control plane runs by itself are refused. If
	// empty, or if all begin with a minus, All.
	Controllers []string

	// PodCIDR is the IP range that nodes get their ranges for pods from
	// (spec.podCIDR), a /24 for each, or a /64 with IPv6: like "10.244.0.0/16".
	// For dual-stack, two ranges with a comma between them. It must not overlap
	// with other networks of the workers. If empty, nodes get none, and
	// node-ipam-controller does not run.
	PodCIDR string

	// Customize changes what kube-controller-manager has flags for, starting from
	// upstream's defaults and PodCIDR: a shorter
	// NodeLifecycleController.NodeMonitorGracePeriod, for example, or
	// DeploymentController.ConcurrentDeploymentSyncs. It may be called several
	// times, and must do the same each time. What is about a process of its own
	// has no effect: the fields of Generic, save MinResyncPeriod, and those of the
	// controllers that are not of this package. If nil, upstream's defaults.
	Customize func(*kubectrlmgrconfig.KubeControllerManagerConfiguration)

	// Logger takes what the controllers log, upstream's information at debug
	// level, its errors, most of which it retries by itself, as warnings. More
	// than upstream's verbosity 0 is logged when the host has raised klog's. If
	// nil, the logger of the control plane that runs it, named after the component.
	Logger *zap.Logger
}

// clone returns a copy that shares nothing that the caller can change, with
// zeros filled in.
func (c Config) clone() Config {
	c.Controllers = slices.Clone(c.Controllers)
	return c
}

// Validate reports every problem at once, each with the field's name. That
// upstream does not accept what Customize has set is known only when the controllers
// run: Run returns it.
func (c Config) Validate() error {
	_, _, err := c.clone().resolve()
	return err
}

// resolve is the configuration in upstream's terms, and the controllers to run.
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
	chosen, chooseErrs := choose(c.Controllers, ipam)
	errs = append(errs, chooseErrs...)
	if len(errs) > 0 {
		return nil, nil, fmt.Errorf("controllers: invalid Config: %w", errs.ToAggregate())
	}
	return settings, chosen, nil
}

// settings is what kube-controller-manager would start from.
func (c Config) settings() (*kubectrlmgrconfig.KubeControllerManagerConfiguration, error) {
	defaults := configv1alpha1.KubeControllerManagerConfiguration{}
	scheme.Scheme.Default(&defaults)
	settings := &kubectrlmgrconfig.KubeControllerManagerConfiguration{}
	if err := v1alpha1.Convert_v1alpha1_KubeControllerManagerConfiguration_To_config_KubeControllerManagerConfiguration(&defaults, settings, nil); err != nil {
		return nil, err
	}
	setFlagDefaults(settings)
	// Upstream defaults to allocating, which it then refuses without a range.
	settings.KubeCloudShared.AllocateNodeCIDRs = c.PodCIDR != ""
	settings.KubeCloudShared.ClusterCIDR = c.PodCIDR
	if c.Customize != nil {
		c.Customize(settings)
	}
	return settings, nil
}

// podCIDRs are the ranges of the configuration, one or two.
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

// validatePodCIDR finds what upstream finds only when the controller is made.
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

// nodeMasks is how large the range of a node is, for each of ranges: upstream's
// setNodeCIDRMaskSizes.
func nodeMasks(settings *kubectrlmgrconfig.KubeControllerManagerConfiguration, ranges []*net.IPNet) []int {
	first := func(values ...int32) int {
		for _, value := range values {
			if value != 0 {
				return int(value)
			}
		}
		return 0
	}
	ipam := settings.NodeIPAMController
	masks := make([]int, len(ranges))
	for i, r := range ranges {
		if netutils.IsIPv6CIDR(r) {
			masks[i] = first(ipam.NodeCIDRMaskSizeIPv6, ipam.NodeCIDRMaskSize, 64)
		} else {
			masks[i] = first(ipam.NodeCIDRMaskSizeIPv4, ipam.NodeCIDRMaskSize, 24)
		}
	}
	return masks
}
