// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"fmt"

	"github.com/kubembed/kubembed/internal/controlplane/archive"
	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/internal/versionskew"
	"github.com/kubembed/kubembed/pkg/apiserver"
)

// A release that must not use the data of another one must not open the database either:
// etcd upgrades it at once, and the release that the error recommends could no longer
// open it. So the record has the release, and not only the API server's key in etcd.

// firstRelease is the release of records without one.
const firstRelease = "v1.36.0"

// checkRelease returns an error if this release must not use the data in DataDir.
func (s *Server) checkRelease() error {
	if s.config.Etcd.external() || !s.hadData || s.record == nil {
		return nil
	}
	stored := s.record.Kubernetes
	if stored == "" {
		if s.record.Etcd == "" || s.record.Restored {
			return nil // the API server checks it
		}
		stored = firstRelease
	}
	if _, err := versionskew.Follows(stored, apiserver.KubernetesVersion, s.config.Etcd.shared()); err != nil {
		return fieldpath.New("", "Config.DataDir", "%s is of Kubernetes %s: %w", s.dir, stored, err)
	}
	return nil
}

// keptRelease returns the release for the record, until the API server has checked that
// this one may use the objects.
func (s *Server) keptRelease() string {
	switch {
	case s.config.Etcd.external():
		return ""
	case !s.hadData:
		return apiserver.KubernetesVersion
	case s.record == nil:
		return ""
	}
	return s.record.Kubernetes
}

// keepRelease records this release if it is the newest.
func (s *Server) keepRelease() error {
	if s.temporary != nil || s.config.Etcd.external() || s.record.Kubernetes == apiserver.KubernetesVersion {
		return nil
	}
	r := *s.record
	if r.Kubernetes != "" {
		newer, err := versionskew.Follows(r.Kubernetes, apiserver.KubernetesVersion, true)
		if err != nil {
			return fieldpath.New("", "Config.DataDir", "%s is of Kubernetes %s: %w", s.dir, r.Kubernetes, err)
		}
		if !newer {
			return nil
		}
	}
	r.Kubernetes = apiserver.KubernetesVersion
	if err := r.write(s.dir); err != nil {
		return err
	}
	s.record = &r
	return nil
}

// checkSnapshotRelease returns an error if this release cannot follow that of a snapshot.
func checkSnapshotRelease(a archive.About, shared bool) error {
	if a.Kubernetes == "" {
		return nil
	}
	if _, err := versionskew.Follows(a.Kubernetes, apiserver.KubernetesVersion, shared); err != nil {
		return fmt.Errorf("the snapshot is of Kubernetes %s: %w", a.Kubernetes, err)
	}
	return nil
}
