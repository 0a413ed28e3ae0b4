// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"k8s.io/apiserver/pkg/server/healthz"

	"github.com/kubembed/kubembed/pkg/etcd"
)

// EtcdStatus returns the status of etcd: the size of its database, the used part of it,
// the revision and the alarms. It is that of the member in this process, or of one of
// Config.Etcd.Endpoints.
func (s *Server) EtcdStatus(ctx context.Context) (etcd.Status, error) {
	if s.member != nil {
		return s.member.Status(), nil
	}
	status, err := etcd.GetStatus(ctx, s.etcd.Client())
	if err != nil {
		return status, fmt.Errorf("controlplane: %w", err)
	}
	return status, nil
}

// spaceCheck returns the readiness check of the space for writes. Its error names the
// remedy.
func (s *Server) spaceCheck() healthz.HealthChecker {
	return healthz.NamedCheck("etcd-space", func(r *http.Request) error {
		if s.member != nil {
			err := etcdError(s.member.CheckSpace())
			if errors.Is(err, etcd.ErrNoSpace) {
				if advice := s.snapshots.Load().Advice(); advice != "" {
					err = fmt.Errorf("%w%s", err, advice)
				}
			}
			return err
		}
		status, err := s.EtcdStatus(r.Context())
		if err != nil {
			return nil //nolint:nilerr // another check reports whether etcd responds
		}
		if len(status.Alarms) > 0 {
			return fmt.Errorf("etcd has the alarm %s, so that writes are refused: its database has %d bytes of %d: free space with etcdctl", strings.Join(status.Alarms, ", "), status.SizeBytes, status.QuotaBytes)
		}
		return nil
	})
}

// explainSpace adds the cause and the remedy to the error of a start in which etcd has
// refused a write for lack of space.
func (s *Server) explainSpace(err error) error {
	if err == nil || s.member == nil || !strings.Contains(err.Error(), rpctypes.ErrorDesc(rpctypes.ErrNoSpace)) {
		return err
	}
	if space := s.member.CheckSpace(); space != nil {
		return fmt.Errorf("%w: %w", err, etcdError(space))
	}
	return err
}

// dataCheck returns the readiness check that the members agree on the data.
func (s *Server) dataCheck() healthz.HealthChecker {
	return healthz.NamedCheck("etcd-data", func(r *http.Request) error {
		status, err := s.EtcdStatus(r.Context())
		if err == nil && slices.Contains(status.Alarms, "CORRUPT") {
			return errors.New("etcd has the alarm CORRUPT: its members do not agree on the data: remove the wrong members, and let them join again with empty directories, or restore a snapshot")
		}
		return nil // another check reports whether etcd responds
	})
}
