// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"testing"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

// TestRoomThatKilledProcessesHad: a start without enough free space first removes the
// directories of killed processes.
func TestRoomThatKilledProcessesHad(t *testing.T) {
	disk := smallDisk(t, 400)
	setTemp(t, disk)
	killEphemeral(t, 2)
	closeServer(t, start(t, controlplane.Config{}))
}
