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
	"text/tabwriter"
	"time"

	"github.com/kubembed/kubembed/internal/pool/place"
	"github.com/kubembed/kubembed/internal/pool/protocol"
)

// each calls do for each program that serves.
func each(ctx context.Context, method, path string, do func(*http.Response) error) error {
	sockets, err := place.Sockets()
	if err != nil {
		return err
	}
	var errs []error
	for _, socket := range sockets {
		client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}}}
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
			err = errors.Join(do(response), response.Body.Close())
		}
		errs = append(errs, err)
		client.CloseIdleConnections()
	}
	return errors.Join(errs...)
}

func status(ctx context.Context, w io.Writer) error {
	found := false
	err := each(ctx, http.MethodGet, protocol.PathStatus, func(r *http.Response) error {
		found = true
		var s protocol.Status
		if err := json.NewDecoder(r.Body).Decode(&s); err != nil {
			return err
		}
		fmt.Fprintf(w, "process %d, version %s, Kubernetes %s, for %s\n", s.PID, s.Version, s.Kubernetes, age(s.Since))
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
		_, err = fmt.Fprintln(w, "no program runs: tests start it when they need it")
	}
	return err
}

func age(since time.Time) string {
	if since.IsZero() {
		return ""
	}
	return time.Since(since).Round(time.Second).String()
}

func stop(ctx context.Context, w io.Writer) error {
	return each(ctx, http.MethodPost, protocol.PathStop, func(*http.Response) error {
		_, err := fmt.Fprintln(w, "stopped")
		return err
	})
}
