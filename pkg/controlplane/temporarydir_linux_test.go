package controlplane_test

import (
	"testing"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

// TestRoomThatKilledProcessesHad: a start that would fail for want of what they have
// left begins with removing it.
func TestRoomThatKilledProcessesHad(t *testing.T) {
	disk := smallDisk(t, 400)
	setTemp(t, disk)
	killEphemeral(t, 2)
	closeServer(t, start(t, controlplane.Config{}))
}
