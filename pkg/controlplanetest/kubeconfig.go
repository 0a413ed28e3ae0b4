package controlplanetest

import (
	"context"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

// NewKubeconfig is controlplane.Server.NewKubeconfig, until the end of the test.
func (cp *ControlPlane) NewKubeconfig(options controlplane.KubeconfigOptions) ([]byte, error) {
	if err := cp.over(); err != nil {
		return nil, err
	}
	return cp.Server.NewKubeconfig(options)
}

// RevokeKubeconfig is controlplane.Server.RevokeKubeconfig, until the end of the test.
func (cp *ControlPlane) RevokeKubeconfig(ctx context.Context, kubeconfig []byte) error {
	if err := cp.over(); err != nil {
		return err
	}
	return cp.Server.RevokeKubeconfig(ctx, kubeconfig)
}
