// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/kubembed/kubembed/internal/lifecycle"
)

// Calls counts the calls of the admission chain, and the calls of the host's plugins in
// it, which may outlive their requests. The zero value is ready.
type Calls struct {
	lifecycle.Group
	plugins lifecycle.Group

	mu      sync.Mutex
	overdue map[string]int // calls that outlive their requests, by plugin
}

// Wait closes the group and returns when all calls have ended. If ctx ends first, the
// error names the plugins of the host that have not returned.
func (c *Calls) Wait(ctx context.Context) error {
	if err := c.Group.Wait(ctx); err != nil {
		return err
	}
	err := c.plugins.Wait(ctx)
	if err == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.overdue) == 0 {
		return err
	}
	return fmt.Errorf("plugins of the host that do not return (%s): %w", strings.Join(slices.Sorted(maps.Keys(c.overdue)), ", "), err)
}

// abandon adds n to the number of overdue calls of a plugin.
func (c *Calls) abandon(plugin string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.overdue == nil {
		c.overdue = map[string]int{}
	}
	if c.overdue[plugin] += n; c.overdue[plugin] == 0 {
		delete(c.overdue, plugin)
	}
}
