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

// Snapshot writes to w all that is needed to come back: the objects as they are at
// this moment, the CAs and the service-account keys. Restore makes a DataDir
// of it. WriteSnapshot writes it to a file, and makes that durable. A file that Snapshot
// writes to is synchronized by its owner, and rewound or opened again before Restore reads
// it. The keys of Config.Encryption are not in it: keep them in another place.
// Otherwise it is as secret as the control plane: it holds every Secret, and keys with
// which anybody can be anyone. Anybody who can change it controls the control plane that
// is restored from it, unless Config.SnapshotKey is set.
//
// It is a tar archive. etcd.db is a snapshot of etcd, as "etcdctl
// snapshot save" makes it, which etcdutl restores too; pki.pem is what PKI returns;
// snapshot.json tells the versions, the time, the revision and what Config should
// have the same at the next start; SHA256SUMS is for sha256sum -c; with
// Config.SnapshotKey HMAC-SHA256 follows, the MAC of every byte of the archive before
// it.
//
// The control plane serves while it is written. It holds pages of the database until
// then, so write it to where it goes quickly. An error means that what has been
// written is worth nothing. Where the members of a cluster have lost their majority it
// is of what this one has, and with Config.Etcd.Endpoints of what one of them has, which
// may lag behind the others. Snapshot ends early when ctx ends, and with etcd.ErrClosed
// when the control plane stops.
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
			Kubernetes:  apiserver.KubernetesVersion,
			Etcd:        version.Version,
			Time:        now.UTC().Truncate(time.Second),
			Prefix:      s.config.Etcd.Prefix,
			ServiceCIDR: s.config.ServiceCIDR,
			Revision:    status.Revision,
		},
		Database: database, Size: database.Size(), PKI: bundle,
	})
}

// openSnapshot is of the member in this process, or of one elsewhere.
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

// validateSnapshotKey does not show the key. An empty key that is not nil may come from the
// wrong file, and must not switch the check off.
func validateSnapshotKey(at *field.Path, key []byte) field.ErrorList {
	if key == nil || len(key) >= archive.MinKey {
		return nil
	}
	return field.ErrorList{field.Invalid(at, fmt.Sprintf("(%d bytes)", len(key)),
		fmt.Sprintf("must have at least %d random bytes, for example from crypto/rand", archive.MinKey))}
}
