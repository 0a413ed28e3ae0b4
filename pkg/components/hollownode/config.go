package hollownode

import (
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

// Config says what the nodes are like. Its zero value is one node of 32 CPUs.
type Config struct {
	// Name is that of the component. Two Nodes of one control plane need different
	// ones, and different values of NamePrefix. If empty, "hollownode".
	Name string

	// Count is how many nodes there are. If zero, 1.
	Count int

	// NamePrefix begins the nodes' names; a number from 0 on follows. If empty,
	// "node-", so that three nodes are node-0, node-1 and node-2.
	NamePrefix string

	// Labels are labels of the nodes, beside those for host name, operating
	// system and architecture that each has, which they can replace.
	Labels map[string]string

	// Taints are what the nodes register with.
	Taints []corev1.Taint

	// Capacity is what a node offers to pods, all of it allocatable. What is not
	// in it is 32 CPUs, 256Gi of memory, 1Ti of ephemeral storage, and 110 pods.
	// The scheduler looks at it; a pod that is bound past it runs nevertheless.
	Capacity corev1.ResourceList

	// Address is the IP address that all nodes have, and the port for logs, over
	// HTTPS. If empty, "127.0.0.1:0": loopback, a free port. A control plane that
	// itself listens on more than loopback connects to no kubelet on loopback:
	// kubectl logs then needs another address of this machine here.
	Address string

	// PodCIDR is the IP range that pods have their addresses from on nodes
	// without a spec.podCIDR. If empty, "10.128.0.0/14", enough for 262,000 pods.
	PodCIDR string

	// LeaseDuration is how long a heartbeat is good for, in full
	// seconds. It is renewed twice in that time. If zero, 40 seconds.
	LeaseDuration time.Duration

	// StartDelay is how long a pod is Pending on its node. If zero, it starts at
	// once, and is never seen with containers that are being created.
	StartDelay time.Duration

	// JobDuration is how long the containers of a Job's pod run. If zero, one
	// second. Other pods run until they are deleted.
	JobDuration time.Duration

	// StopDelay is how long containers take to stop when their pod is deleted;
	// those that take longer than the pod's grace period are killed at its end. If
	// zero, they stop at once.
	StopDelay time.Duration

	// Logger takes what the nodes say. If nil, the logger of the control plane that
	// runs them, named after the component.
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

// clone returns a copy that shares nothing that the caller can change, with
// zeros filled in.
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
	c.Name = or(c.Name, defaultName)
	c.Count = or(c.Count, 1)
	c.NamePrefix = or(c.NamePrefix, defaultPrefix)
	c.Address = or(c.Address, defaultAddress)
	c.PodCIDR = or(c.PodCIDR, defaultPodCIDR)
	c.LeaseDuration = or(c.LeaseDuration, defaultLeaseDuration)
	c.JobDuration = or(c.JobDuration, defaultJobDuration)
	return c
}

func or[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

// Validate reports every problem at once, each with the field's name.
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
		invalid("NamePrefix", c.NamePrefix, "does not begin the name of a node: "+problem)
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

// name is the name of node i.
func (c Config) name(i int) string { return fmt.Sprintf("%s%d", c.NamePrefix, i) }
