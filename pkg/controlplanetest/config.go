package controlplanetest

import (
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// Config says what a test gets. Its zero value is a control plane with its core
// controllers and nothing else.
type Config struct {
	// ControlPlane is what is started. If zero, a private, ephemeral control
	// plane on a free loopback port. Its Logger is set by the fixture unless it
	// is set here.
	ControlPlane controlplane.Config
}
