// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package hollownode

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Config configures the nodes. Its zero value is one node with 32 CPUs.
type Config struct {
	// Name is the name of the component. Two Nodes of one control plane need different
	// names and different values of NamePrefix. If empty, "hollownode".
	Name string

	// Count is the number of nodes. If zero, 1.
	Count int

	// NamePrefix is the prefix of the node names, before a number from 0 on. If empty,
	// "node-": three nodes are node-0, node-1 and node-2.
	NamePrefix string

	// Labels are additional labels of the nodes. They can override the labels for host
	// name, operating system and architecture.
	Labels map[string]string

	// Taints are the taints with which the nodes register.
	Taints []corev1.Taint

	// Capacity is the capacity of a node, all of it allocatable. The defaults are 32
	// CPUs, 256Gi of memory, 1Ti of ephemeral storage, and 110 pods. Only the scheduler
	// enforces it: the node also runs pods that exceed it.
	Capacity corev1.ResourceList

	// Address is the IP address of all nodes, and the port of the kubelet API (logs,
	// over HTTPS). If empty, "127.0.0.1:0": loopback and a free port. A control plane
	// that listens on other addresses than loopback does not connect to kubelets on
	// loopback. kubectl logs then needs another address of this machine.
	Address string

	// PodCIDR is the IP range for pods on nodes without a spec.podCIDR. If empty,
	// "10.128.0.0/14", enough for 262,000 pods.
	PodCIDR string

	// LeaseDuration is the duration of node Leases, in full seconds. A Lease is
	// renewed twice in that time. If zero, 40 seconds.
	LeaseDuration time.Duration

	// StartDelay is the time for which a pod is Pending on its node. If zero, pods
	// start at once, without the status ContainerCreating.
	StartDelay time.Duration

	// JobDuration is the time for which the containers of a Job's pod run. If zero,
	// one second. Other pods run until they are deleted.
	JobDuration time.Duration

	// StopDelay is the time that containers take to stop when their pod is deleted.
	// At the end of the pod's grace period they are killed. If zero, they stop at once.
	StopDelay time.Duration

	// Logger receives the log of the nodes. If nil, the logger of the control plane,
	// named after the component.
	Logger *zap.Logger
}

const (
	defaultName          = "hollownode"
	defaultPrefix        = "node-"
	defaultAddress       = "127.0.0.1:0"
	defaultPodCIDR       = "10.128.0.0/14"
	defaultLeaseDuration = 40 * time.Second // the kubelet's
	defaultJobDuration   = time.Second
	minLeaseDuration     = time.Second
)

// clone returns a deep copy of c with its defaults.
func (c Config) clone() Config {
	c.Labels = maps.Clone(c.Labels)
	c.Taints = slices.Clone(c.Taints)
	capacity := corev1.ResourceList{
		corev1.ResourceCPU:              resource.MustParse("32"),
		corev1.ResourceMemory:           resource.MustParse("256Gi"),
		corev1.ResourceEphemeralStorage: resource.MustParse("1Ti"),
		corev1.ResourcePods:             resource.MustParse("110"),
	}
	maps.Copy(capacity, c.Capacity.DeepCopy())
	c.Capacity = capacity
	c.Name = cmp.Or(c.Name, defaultName)
	c.Count = cmp.Or(c.Count, 1)
	c.NamePrefix = cmp.Or(c.NamePrefix, defaultPrefix)
	c.Address = cmp.Or(c.Address, defaultAddress)
	c.PodCIDR = cmp.Or(c.PodCIDR, defaultPodCIDR)
	c.LeaseDuration = cmp.Or(c.LeaseDuration, defaultLeaseDuration)
	c.JobDuration = cmp.Or(c.JobDuration, defaultJobDuration)
	return c
}

// Validate reports all problems in one error that names the fields.
func (c Config) Validate() error {
	c = c.clone()
	var errs field.ErrorList
	invalid := func(name string, value any, detail string) {
		errs = append(errs, field.Invalid(field.NewPath(name), value, detail))
	}
	if c.Count < 0 {
		invalid("Count", c.Count, "must not be negative; zero is 1")
	}
	for _, problem := range validation.IsDNS1123Subdomain(c.name(max(c.Count, 1) - 1)) {
		invalid("NamePrefix", c.NamePrefix, "must be a prefix of node names: "+problem)
	}
	errs = append(errs, metav1validation.ValidateLabels(c.Labels, field.NewPath("Labels"))...)
	for i, taint := range c.Taints {
		path := field.NewPath("Taints").Index(i)
		for _, problem := range validation.IsQualifiedName(taint.Key) {
			errs = append(errs, field.Invalid(path.Child("Key"), taint.Key, problem))
		}
		for _, problem := range validation.IsValidLabelValue(taint.Value) {
			errs = append(errs, field.Invalid(path.Child("Value"), taint.Value, problem))
		}
		switch taint.Effect {
		case corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute:
		default:
			errs = append(errs, field.NotSupported(path.Child("Effect"), taint.Effect,
				[]corev1.TaintEffect{corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute}))
		}
	}
	for name, quantity := range c.Capacity {
		if quantity.Sign() < 0 {
			errs = append(errs, field.Invalid(field.NewPath("Capacity").Key(string(name)), quantity.String(), "must not be negative"))
		}
	}
	if address, err := netip.ParseAddrPort(c.Address); err != nil || address.Addr().Unmap().IsUnspecified() || address.Addr().Unmap().IsMulticast() {
		invalid("Address", c.Address, `must be one IP address of this machine and a port, like "127.0.0.1:0"`)
	}
	if prefix, err := netip.ParsePrefix(c.PodCIDR); err != nil || size(prefix) < 4 {
		invalid("PodCIDR", c.PodCIDR, `must be an IP range with room for pods, like "10.128.0.0/14"`)
	}
	if c.LeaseDuration < minLeaseDuration || c.LeaseDuration%time.Second != 0 {
		invalid("LeaseDuration", c.LeaseDuration.String(), fmt.Sprintf("must be %s or more, in full seconds; zero is %s", minLeaseDuration, defaultLeaseDuration))
	}
	for _, delay := range []struct {
		name  string
		value time.Duration
	}{{"StartDelay", c.StartDelay}, {"JobDuration", c.JobDuration}, {"StopDelay", c.StopDelay}} {
		if delay.value < 0 {
			invalid(delay.name, delay.value.String(), "must not be negative")
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("hollownode: invalid Config: %w", errs.ToAggregate())
	}
	return nil
}

// name returns the name of node i.
func (c Config) name(i int) string { return fmt.Sprintf("%s%d", c.NamePrefix, i) }
