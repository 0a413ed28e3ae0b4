package controlplane

// WithoutLeaderElection returns a component that runs in each of the control planes that share
// an etcd, where others run in one of them at a time: what looks after the machine
// that it is on, say, or simulated nodes whose names are not those of the others'.
// For a control plane alone it changes nothing.
func WithoutLeaderElection(component Component) Component { return withoutElection{component} }

type withoutElection struct{ Component }

const (
	// coreLease elects who runs the core controllers.
	coreLease = "kubembed-controllers"
	// snapshotLease elects who takes snapshots.
	snapshotLease = "kubembed-snapshots"
	// componentLease and its name elects who runs a component.
	componentLease = "kubembed-component-"
)

// leaseOf is the Lease of a host's component.
func leaseOf(component Component) string {
	if _, ok := component.(withoutElection); ok {
		return ""
	}
	return componentLease + component.Name()
}
