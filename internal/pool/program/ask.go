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
	"net/http"
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

// ended returns when the process has ended.
func (p running) ended(ctx context.Context) error {
	var lock *dirlock.Lock
	var err error
	if ended := lifecycle.Poll(ctx, func() bool {
		lock, err = dirlock.Take(p.dir)
		return !errors.Is(err, dirlock.ErrLocked) || dirlock.Owner(p.dir, "") != p.owner
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

// each calls do for each program that serves.
func each(ctx context.Context, method, path string, do func(p running, r *http.Response) error) error {
	sockets, err := place.Sockets()
	if err != nil {
		return err
	}
	var errs []error
	for _, socket := range sockets {
		client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}}}
		dir := filepath.Dir(socket)
		p := running{dir: dir, owner: dirlock.Owner(dir, "")}
		request, err := http.NewRequestWithContext(ctx, method, "http://controlplanes"+path, nil)
		if err != nil {
			return err
		}
		request.Header.Set(protocol.HeaderVersion, protocol.Version)
		response, err := client.Do(request)
		if op := (*net.OpError)(nil); errors.As(err, &op) && op.Op == "dial" {
			continue // it has ended
		}
		if err == nil {
			err = errors.Join(do(p, response), response.Body.Close())
		}
		errs = append(errs, err)
		client.CloseIdleConnections()
	}
	return errors.Join(errs...)
}

func status(ctx context.Context, w io.Writer) error {
	found := false
	err := each(ctx, http.MethodGet, protocol.PathStatus, func(_ running, r *http.Response) error {
		found = true
		if r.StatusCode != http.StatusOK {
			return answered(r)
		}
		var s protocol.Status
		if err := json.NewDecoder(r.Body).Decode(&s); err != nil {
			return err
		}
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
	err := each(ctx, http.MethodPost, protocol.PathStop, func(p running, r *http.Response) error {
		found = true
		if r.StatusCode != http.StatusOK {
			return answered(r)
		}
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

// answered returns the error of a program that refuses.
func answered(r *http.Response) error {
	var failure protocol.Error
	if err := json.NewDecoder(r.Body).Decode(&failure); err != nil {
		return errors.New(r.Status)
	}
	return errors.New(failure.Message)
}
