// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"go.etcd.io/etcd/api/v3/version"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/kubembed/kubembed/internal/controlplane/archive"
	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/etcd"
)

// Snapshot writes a snapshot to w: all objects at this moment, the CAs and the
// service-account keys. Restore makes a DataDir from it. WriteSnapshot writes one to a
// file and synchronizes it. Files that Snapshot writes to are synchronized by the caller,
// and rewound or reopened before Restore reads them. The keys of Config.Encryption are
// not in a snapshot: store them elsewhere.
//
// A snapshot is as secret as the control plane. It holds every Secret, and keys that can
// authenticate as any user. A client that can change a snapshot controls the control
// plane that is restored from it, unless Config.SnapshotKey is set.
//
// The format is a tar archive of these files:
//
//   - etcd.db: a snapshot of etcd as "etcdctl snapshot save" makes it, which etcdutl can
//     restore too.
//   - pki.pem: the result of PKI.
//   - snapshot.json: the versions, the time, the revision, and the parts of Config that
//     must be the same at the next start.
//   - SHA256SUMS: for sha256sum -c.
//   - HMAC-SHA256, with Config.SnapshotKey: the MAC of every earlier byte of the archive.
//
// The control plane serves meanwhile. It keeps pages of the database until the snapshot
// is written: write to a fast destination. After an error the written bytes are useless.
// If a cluster has lost its majority, the snapshot has the data of this member. With
// Config.Etcd.Endpoints it has the data of one of the members, which may lag behind.
// Snapshot ends early when ctx ends, and with etcd.ErrClosed when the control plane
// stops.
func (s *Server) Snapshot(ctx context.Context, w io.Writer) error {
	if err := s.snapshot(ctx, w); err != nil {
		return fmt.Errorf("controlplane: snapshot: %w", err)
	}
	return nil
}

func (s *Server) snapshot(ctx context.Context, w io.Writer) (err error) {
	bundle, err := s.pki.Export()
	if err != nil {
		return err
	}
	status, err := s.EtcdStatus(ctx)
	if err != nil {
		return err
	}
	database, err := s.openSnapshot(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, database.Close()) }()
	now := s.clock().Now()
	return archive.Write(w, now, s.config.SnapshotKey, archive.Content{
		About: archive.About{
			Kubernetes:           apiserver.KubernetesVersion,
			Etcd:                 version.Version,
			Time:                 now.UTC().Truncate(time.Second),
			Prefix:               s.config.Etcd.Prefix,
			ServiceCIDR:          s.config.ServiceCIDR,
			SecondaryServiceCIDR: s.config.Network.SecondaryServiceCIDR,
			Revision:             status.Revision,
		},
		Database: database, Size: database.Size(), PKI: bundle,
	})
}

// openSnapshot opens a snapshot of the member in this process, or of an external etcd.
func (s *Server) openSnapshot(ctx context.Context) (*etcd.Snapshot, error) {
	if s.member != nil {
		return s.member.OpenSnapshot(ctx)
	}
	return etcd.OpenSnapshot(ctx, s.etcd.Client())
}

// ErrNotAuthentic is the error of Restore for a snapshot that RestoreConfig.Key does not
// authenticate: it was taken without a key or with another one, or it was changed or
// truncated.
var ErrNotAuthentic = archive.ErrNotAuthentic

// validateSnapshotKey does not show the key. An empty key that is not nil may come from
// the wrong file, and must not switch the check off.
func validateSnapshotKey(at *field.Path, key []byte) field.ErrorList {
	if key == nil || len(key) >= archive.MinKey {
		return nil
	}
	return field.ErrorList{field.Invalid(at, fmt.Sprintf("(%d bytes)", len(key)),
		fmt.Sprintf("must have at least %d random bytes, for example from crypto/rand", archive.MinKey))}
}
