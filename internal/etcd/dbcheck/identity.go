// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package dbcheck

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"go.etcd.io/bbolt"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	"go.etcd.io/etcd/server/v3/storage/datadir"
	"go.etcd.io/etcd/server/v3/storage/schema"

	"github.com/kubembed/kubembed/internal/etcd/contain"
	"github.com/kubembed/kubembed/internal/etcd/errdefs"
	"github.com/kubembed/kubembed/internal/etcd/memberaddr"
	"github.com/kubembed/kubembed/internal/fieldpath"
)

// Identity is the part of a member's configuration that cannot change in the life of its
// data directory.
type Identity struct{ Name, PeerAddr string }

// CheckIdentity refuses the data directory of another member: a standalone one where this
// one belongs to a cluster, the reverse, or one with another name or address. own is nil
// for a standalone member. The database must have been checked.
func CheckIdentity(c *contain.Containment, dir string, own *Identity) error {
	var members []*membership.Member
	if err := c.Run(func() (err error) {
		members, err = storedMembers(datadir.ToBackendFileName(dir))
		return err
	}); err != nil {
		return errdefs.Corrupt(datadir.ToBackendFileName(dir), err)
	}
	if len(members) == 0 {
		return nil // killed in its first start
	}
	standalone := false
	for _, m := range members {
		for _, u := range m.PeerURLs {
			standalone = standalone || u == memberaddr.Standalone.String()
		}
	}
	switch {
	case own == nil && !standalone:
		return fieldpath.New("etcd", "Config.Dir", "%s: %w: it belongs to a member of a cluster: set %s to the name that it was created with", dir, errdefs.ErrOtherMember, fieldpath.Name("Config.Cluster.Name"))
	case own == nil:
		return nil
	case standalone:
		return fieldpath.New("etcd", "Config.Dir", "%s: %w: it belongs to a standalone member, which cannot join a cluster: leave out %s, or name an empty directory", dir, errdefs.ErrOtherMember, fieldpath.Whole("Config.Cluster"))
	}
	stored := memberaddr.Find(members, own.PeerAddr)
	if stored == nil {
		for _, m := range members {
			if m.Name == own.Name {
				return fieldpath.New("etcd", "Config.Cluster.PeerAddr", "%w: the cluster knows member %q at %s, which cannot be changed: keep the address, or remove the member and add it again",
					errdefs.ErrOtherMember, m.Name, m.PeerURLs)
			}
		}
		return nil // removed; the other members report it
	}
	if stored.Name != "" && stored.Name != own.Name {
		return fieldpath.New("etcd", "Config.Cluster.Name", "%w: %s belongs to member %q", errdefs.ErrOtherMember, dir, stored.Name)
	}
	return nil
}

func storedMembers(path string) (members []*membership.Member, err error) {
	if info, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		return nil, nil
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Nanosecond})
	if err != nil {
		return nil, err
	}
	defer func() { _ = db.Close() }()
	err = db.View(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket(schema.Members.Name())
		if bucket == nil {
			return nil
		}
		return bucket.ForEach(func(_, value []byte) error {
			m := &membership.Member{}
			if err := json.Unmarshal(value, m); err != nil {
				return fmt.Errorf("a member of the cluster: %w", err)
			}
			members = append(members, m)
			return nil
		})
	})
	return members, err
}
