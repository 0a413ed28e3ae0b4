// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

// WithoutLeaderElection returns a component that runs in all control planes that share an
// etcd. Other components run in one of them at a time. It is for example for a component
// that manages its machine, or for simulated nodes with names of their own. It has no
// effect without a shared etcd.
func WithoutLeaderElection(component Component) Component { return withoutElection{component} }

type withoutElection struct{ Component }

const (
	// coreLease elects the control plane that runs the core controllers.
	coreLease = "kubembed-controllers"
	// snapshotLease elects the control plane that takes scheduled snapshots.
	snapshotLease = "kubembed-snapshots"
	// componentLease, with the component's name, elects the one that runs a component.
	componentLease = "kubembed-component-"
)

// leaseOf returns the name of the Lease of a host's component, or "" if it has none.
func leaseOf(component Component) string {
	if _, ok := component.(withoutElection); ok {
		return ""
	}
	return componentLease + component.Name()
}
