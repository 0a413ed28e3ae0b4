// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package program

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/kubembed/kubembed/internal/dirlock"
	"github.com/kubembed/kubembed/internal/lifecycle"
	"github.com/kubembed/kubembed/internal/pool/place"
	"github.com/kubembed/kubembed/internal/pool/protocol"
)

// running is a program that serves.
type running struct {
	dir   string
	owner string // of the lock of dir
}

func owner(dir string) string { return dirlock.Owner(dir, "the program") }

// ended returns when the process has ended.
func (p running) ended(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, stopTimeout, fmt.Errorf("%s does not end for %s: kill it", p.owner, stopTimeout))
	defer cancel()
	var lock *dirlock.Lock
	var err error
	if ended := lifecycle.Poll(ctx, func() bool {
		lock, err = dirlock.Take(p.dir)
		return !errors.Is(err, dirlock.ErrLocked) || owner(p.dir) != p.owner
	}); ended != nil {
		return ended
	}
	if errors.Is(err, dirlock.ErrLocked) { // a test has started another one
		return nil
	}
	if err == nil {
		lock.Unlock()
	}
	return err
}

// each calls do for each program that serves, which may have ended since.
func each(do func(p running, c *protocol.Client) error) error {
	sockets, err := place.Sockets()
	if err != nil {
		return err
	}
	var errs []error
	for _, socket := range sockets {
		dir := filepath.Dir(socket)
		p := running{dir: dir, owner: owner(dir)}
		client := protocol.NewClient(socket)
		err := do(p, client)
		client.Close()
		if op := (*net.OpError)(nil); errors.As(err, &op) && op.Op == "dial" {
			continue // it has ended
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// requestTimeout bounds a request: the answer takes milliseconds.
const requestTimeout = 10 * time.Second

// ask calls do with a context for a request to the program.
func (p running) ask(ctx context.Context, do func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, requestTimeout, fmt.Errorf("%s in %s does not answer for %s: kill it", p.owner, p.dir, requestTimeout))
	defer cancel()
	err := do(ctx)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func status(ctx context.Context, w io.Writer) error {
	found := false
	err := each(func(p running, c *protocol.Client) error {
		var s protocol.Status
		if err := p.ask(ctx, func(ctx context.Context) error {
			r, err := c.Get(ctx, protocol.PathStatus)
			if err != nil {
				return err
			}
			defer func() { _ = r.Body.Close() }() // read below
			return json.NewDecoder(r.Body).Decode(&s)
		}); err != nil {
			return err
		}
		found = true
		fmt.Fprintf(w, "process %d, version %s, Kubernetes %s, for %s, %d MB (%d MB live), %d goroutines\n",
			s.PID, s.Version, s.Kubernetes, age(s.Since), s.Memory/1e6, s.Live/1e6, s.Goroutines)
		table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "STATE\tAGE\tLEASES\tURL\tTEST")
		for _, c := range s.ControlPlanes {
			owner := ""
			if c.Owner != nil {
				owner = fmt.Sprintf("%s of %s (process %d)", c.Owner.Test, c.Owner.Directory, c.Owner.PID)
			}
			fmt.Fprintf(table, "%s\t%s\t%d\t%s\t%s\n", c.State, age(c.Since), c.Leases, c.URL, owner)
		}
		return table.Flush()
	})
	if err == nil && !found {
		_, err = fmt.Fprintln(w, noProgram)
	}
	return err
}

func age(since time.Time) string {
	if since.IsZero() {
		return ""
	}
	return time.Since(since).Round(time.Second).String()
}

// stop returns when the processes have stopped their control planes.
func stop(ctx context.Context, w io.Writer) error {
	found := false
	err := each(func(p running, c *protocol.Client) error {
		if err := p.ask(ctx, func(ctx context.Context) error {
			r, err := c.Post(ctx, protocol.PathStop, protocol.Nothing{})
			if err != nil {
				return err
			}
			return r.Body.Close()
		}); err != nil {
			return err
		}
		found = true
		if err := p.ended(ctx); err != nil {
			return err
		}
		_, err := fmt.Fprintln(w, "stopped")
		return err
	})
	if err == nil && !found {
		_, err = fmt.Fprintln(w, noProgram)
	}
	return err
}

const noProgram = "no program runs: tests start it when they need it"
