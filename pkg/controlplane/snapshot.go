package controlplane

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"go.etcd.io/etcd/api/v3/version"

	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/etcd"
)

// The entries of a snapshot, in their order; macEntry may follow. What lacks the sums was
// cut short.
const (
	aboutEntry    = "snapshot.json"
	databaseEntry = "etcd.db"
	pkiEntry      = "pki.pem"
	sumsEntry     = "SHA256SUMS"
)

// snapshotFormat changes when older versions of this package could not restore what
// newer ones write.
const snapshotFormat = 1

// about is what stands in aboutEntry.
type about struct {
	Format     int       `json:"format"`
	Kubernetes string    `json:"kubernetes"`
	Etcd       string    `json:"etcd"`
	Time       time.Time `json:"time"`
	// Prefix and ServiceCIDR are those of Config, for whoever starts on it.
	Prefix      string `json:"prefix"`
	ServiceCIDR string `json:"serviceCIDR"`
	// Revision is that of etcd; the database may have a little more.
	Revision int64 `json:"revision"`
}

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
	description, err := json.MarshalIndent(about{
		Format:      snapshotFormat,
		Kubernetes:  apiserver.KubernetesVersion,
		Etcd:        version.Version,
		Time:        s.clock().Now().UTC().Truncate(time.Second),
		Prefix:      s.config.Etcd.Prefix,
		ServiceCIDR: s.config.ServiceCIDR,
		Revision:    status.Revision,
	}, "", "  ")
	if err != nil {
		return err
	}
	a := newArchive(w, s.clock().Now(), s.config.SnapshotKey)
	description = append(description, '\n')
	a.add(aboutEntry, int64(len(description)), bytes.NewReader(description))
	a.add(databaseEntry, database.Size(), database)
	a.add(pkiEntry, int64(len(bundle)), bytes.NewReader(bundle))
	return a.close()
}

// openSnapshot is of the member in this process, or of one elsewhere.
func (s *Server) openSnapshot(ctx context.Context) (*etcd.Snapshot, error) {
	if s.member != nil {
		return s.member.OpenSnapshot(ctx)
	}
	return etcd.OpenSnapshot(ctx, s.etcd.Client())
}

// archive writes the entries of a snapshot until the first error.
type archive struct {
	tar  *tar.Writer
	time time.Time
	sums bytes.Buffer
	mac  hash.Hash // of all that has been written; nil without a key
	err  error
}

func newArchive(w io.Writer, now time.Time, key []byte) *archive {
	a := &archive{time: now.Truncate(time.Second)}
	if len(key) > 0 {
		a.mac = hmac.New(sha256.New, key)
		w = io.MultiWriter(w, a.mac)
	}
	a.tar = tar.NewWriter(w)
	return a
}

func (a *archive) add(name string, size int64, r io.Reader) {
	if a.err != nil {
		return
	}
	if a.err = a.tar.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: size, ModTime: a.time}); a.err != nil {
		return
	}
	sum := sha256.New()
	if _, a.err = io.Copy(io.MultiWriter(a.tar, sum), r); a.err == nil {
		a.sums.WriteString(sumLine(name, sum))
	}
}

func (a *archive) close() error {
	a.add(sumsEntry, int64(a.sums.Len()), bytes.NewReader(bytes.Clone(a.sums.Bytes())))
	a.sign()
	if a.err != nil {
		return a.err
	}
	return a.tar.Close()
}

// sumLine is a line of what sha256sum prints.
func sumLine(name string, sum hash.Hash) string { return fmt.Sprintf("%x  %s\n", sum.Sum(nil), name) }
