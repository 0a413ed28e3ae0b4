// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"errors"
	"maps"
	"net"
	"path/filepath"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/kubembed/kubembed/internal/apiserver/limits"
	"github.com/kubembed/kubembed/internal/dirlock"
	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/internal/logging"
	"github.com/kubembed/kubembed/internal/ownership"
	"github.com/kubembed/kubembed/pkg/etcd"
)

// store is a member in this process or the connection to an external etcd.
type store interface {
	Client() *clientv3.Client
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
	// Done is closed after Close or a failure, which Err returns.
	Done() <-chan struct{}
	Err() error
	Close() error
}

var (
	_ store = (*etcd.Member)(nil)
	_ store = (*etcd.Connection)(nil)
)

// lockDir locks the directory, so that no other control plane uses it.
func (s *Server) lockDir() (err error) {
	s.lock, err = dirlock.Take(s.dir)
	switch {
	case errors.Is(err, dirlock.ErrLocked):
		return fieldpath.New("", "Config.DataDir", "%s: %w by %s: stop it, or name another directory",
			s.dir, etcd.ErrInUse, dirlock.Owner(s.dir, "another control plane"))
	case errors.Is(err, ownership.ErrUntrusted):
		return fieldpath.New("", "Config.DataDir", "%w", err)
	case err != nil:
		return fieldpath.New("", "Config.DataDir", "cannot use %s: %w: name a directory that this user can write to or create", s.dir, err)
	}
	return nil
}

// openStore starts the member, or connects to the external etcd.
func (s *Server) openStore(ctx context.Context) error {
	logger := logging.Lower(s.config.Logger.Named("etcd"))
	e := s.config.Etcd
	if e.external() {
		connection, err := etcd.Connect(ctx, etcd.ExternalConfig{Endpoints: e.Endpoints, CA: e.CA, Cert: e.Cert, Key: e.Key, Logger: logger})
		if err != nil {
			return etcdError(err)
		}
		s.etcd = connection
		return nil
	}
	member, err := etcd.Start(ctx, etcd.Config{
		Dir:             filepath.Join(s.dir, "etcd"),
		Ephemeral:       s.temporary != nil,
		QuotaBytes:      e.QuotaBytes,
		MaxRequestBytes: s.config.maxRequestBytes(),
		Cluster:         s.etcdCluster(),
		Logger:          logger,
	})
	if err != nil {
		if s.temporary != nil {
			return temporaryError(err)
		}
		return etcdError(err)
	}
	s.etcd, s.member = member, member
	return nil
}

// openOverrides connects to the etcds of Config.Etcd.Overrides.
func (s *Server) openOverrides(ctx context.Context) error {
	for i, o := range s.config.Etcd.Overrides {
		at := field.NewPath("Config", "Etcd", "Overrides").Index(i).String()
		connection, err := etcd.Connect(ctx, etcd.ExternalConfig{
			Endpoints: o.Endpoints, CA: o.CA, Cert: o.Cert, Key: o.Key, Logger: logging.Lower(s.config.Logger.Named("etcd-override")),
		})
		if err != nil {
			return fieldpath.New("", at, "the etcd of %q: %w", o.Resources, fieldpath.Rename(err, fieldpath.Names{"ExternalConfig": at}.Rename))
		}
		s.teardown.pushPart("the connection to "+at, connection.Close)
		s.overrides = append(s.overrides, connection)
		s.config.Logger.Warn("snapshots and checkpoints do not contain the resources of another etcd",
			zap.String("field", at), zap.Strings("resources", o.Resources), zap.Strings("endpoints", o.Endpoints))
	}
	return nil
}

// maxRequestBytes returns the limit of a member's requests, which allows for the bodies
// of the API server. Zero is etcd's default.
func (c Config) maxRequestBytes() int64 {
	if c.Limits.MaxRequestBodyBytes <= limits.DefaultMaxBody {
		return 0
	}
	return c.Limits.MaxRequestBodyBytes + requestOverhead
}

// requestOverhead is the size of an etcd request beside the object.
const requestOverhead = 64 << 10

// etcdCluster returns the cluster of the member, or nil.
func (s *Server) etcdCluster() *etcd.Cluster {
	c := s.config.Etcd.cluster()
	if c != nil {
		c.CA, c.Cert, c.Key = s.pki.EtcdFiles()
	}
	return c
}

// etcdFields are the names of a Config for the fields of package etcd.
var etcdFields = fieldpath.Names{
	"Config.Dir":             "Config.DataDir",
	"Config.Ephemeral":       "Config.DataDir",
	"Config.QuotaBytes":      "Config.Etcd.QuotaBytes",
	"Config.MaxRequestBytes": "Config.Limits.MaxRequestBodyBytes",
	"Config.Cluster":         "Config.Etcd",
	"Config.Cluster.":        "Config.Etcd.Name", // to leave it out
	"ExternalConfig":         "Config.Etcd",
}

func etcdError(err error) error { return fieldpath.Rename(err, etcdFields.Rename) }

// temporaryError is etcdError without a DataDir.
func temporaryError(err error) error {
	names := maps.Clone(etcdFields)
	names["Config.Dir"] = "the temporary directory (TMPDIR)"
	var about *fieldpath.Error
	if errors.As(err, &about) && about.Field == "Config.Dir" {
		err = fieldpath.Errorf("%w, or set %s", err, fieldpath.Name("Config.DataDir"))
	}
	return fieldpath.Rename(err, names.Rename)
}

// restoreFields are the names of Restore and its RestoreConfig for the fields of other
// packages and of a Config.
var restoreFields = fieldpath.Names{
	"Config.DataDir":        "dir",
	"Config.Dir":            "dir",
	"RestoreConfig.Dir":     "dir",
	"RestoreConfig.PeerURL": "RestoreConfig.PeerAddr",
	"Dir":                   "dir",
	"Import":                "the snapshot",
}

// apiserverFields are the names of a Config for the fields of package apiserver.
var apiserverFields = fieldpath.Names{
	"Config.Dir":           "Config.DataDir",
	"Config.Listener":      "Config.BindAddress",
	"Config.Prefix":        "Config.Etcd.Prefix",
	"Config.Reserved":      "Config.Hosts",
	"Config.EtcdOverrides": "Config.Etcd.Overrides",
}

func apiserverError(err error) error { return fieldpath.Rename(err, apiserverFields.Rename) }
