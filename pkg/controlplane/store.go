package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/kubembed/kubembed/internal/dirlock"
	"github.com/kubembed/kubembed/internal/logging"
	"github.com/kubembed/kubembed/internal/ownership"
	"github.com/kubembed/kubembed/pkg/etcd"
)

// store is where the state is kept: a member in this process or an etcd elsewhere.
type store interface {
	Client() *clientv3.Client
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
	// Done is closed when it has ended, by Close or by itself, of which Err tells.
	Done() <-chan struct{}
	Err() error
	Close() error
}

var (
	_ store = (*etcd.Member)(nil)
	_ store = (*etcd.Connection)(nil)
)

// lockDir keeps every other start away from what is in the directory.
func (s *Server) lockDir() (err error) {
	s.lock, err = dirlock.Take(s.dir)
	switch {
	case errors.Is(err, dirlock.ErrLocked):
		return fmt.Errorf("Config.DataDir: %s: %w by %s: stop it, or name another directory",
			s.dir, etcd.ErrInUse, dirlock.Owner(s.dir, "another control plane"))
	case errors.Is(err, ownership.ErrUntrusted):
		return fmt.Errorf("Config.DataDir: %w", err)
	case err != nil:
		return fmt.Errorf("Config.DataDir: cannot use %s: %w: name a directory that this user can write to, or one that can be made", s.dir, err)
	}
	return nil
}

// openStore starts the member, or connects to the etcd elsewhere.
func (s *Server) openStore(ctx context.Context) error {
	logger := logging.Lower(s.config.Logger.Named("etcd"))
	e := s.config.Etcd
	if e.external() {
		connection, err := etcd.Connect(ctx, etcd.ExternalConfig{Endpoints: e.Endpoints, CA: e.CA, Cert: e.Cert, Key: e.Key, Logger: logger})
		if err != nil {
			return storeError{err}
		}
		s.etcd = connection
		return nil
	}
	member, err := etcd.Start(ctx, etcd.Config{
		Dir:        filepath.Join(s.dir, "etcd"),
		Ephemeral:  s.temporary != nil,
		QuotaBytes: e.QuotaBytes,
		Cluster:    s.etcdCluster(),
		Logger:     logger,
	})
	if err != nil {
		if s.temporary != nil {
			return temporaryError{err}
		}
		return storeError{err}
	}
	s.etcd, s.member = member, member
	return nil
}

// etcdCluster is what makes the member one of a cluster, or nil.
func (s *Server) etcdCluster() *etcd.Cluster {
	c := s.config.Etcd.cluster()
	if c != nil {
		c.CA, c.Cert, c.Key = s.pki.EtcdFiles()
	}
	return c
}

// storeError calls etcd's fields by the names that our user knows.
type storeError struct{ err error }

var storeFields = strings.NewReplacer(
	"Config.Dir: ", "",
	"Config.Cluster", "Config.Etcd",
	"Config.QuotaBytes", "Config.Etcd.QuotaBytes",
	"Config.Ephemeral", "Config.DataDir",
	"RestoreConfig.PeerURL", "RestoreConfig.PeerAddr",
	"Remote.", "Config.Etcd.",
	"lower QuotaBytes", "lower Config.Etcd.QuotaBytes",
	"leave out Cluster", "leave out Config.Etcd.Name",
	"set Cluster, with the Name", "set Config.Etcd.Name to the name",
	"AddMember of one", "Server.AddMember of one",
)

// storePrefix is that of package etcd, and not the end of "a newer etcd: ".
var storePrefix = regexp.MustCompile(`(^|: |\n|\t)etcd: `)

func (e storeError) Error() string {
	text := storeFields.Replace(storePrefix.ReplaceAllString(e.err.Error(), "$1"))
	if strings.Contains(e.err.Error(), "Config.Dir: ") {
		return "Config.DataDir: " + text
	}
	return text
}

// temporaryError is storeError without a DataDir.
type temporaryError struct{ err error }

func (e temporaryError) Error() string {
	text := storeError(e).Error()
	if rest, ok := strings.CutPrefix(text, "Config.DataDir: "); ok {
		return "the temporary directory (TMPDIR): " + rest + ", or set Config.DataDir"
	}
	return text
}

func (e temporaryError) Unwrap() error { return e.err }

func (e storeError) Unwrap() error { return e.err }

// apiserverError calls the API server's fields by the names that our user knows.
type apiserverError struct{ err error }

var apiserverFields = strings.NewReplacer(
	"Config.Dir", "Config.DataDir",
	"Config.Listener", "Config.BindAddress",
	"Config.Prefix", "Config.Etcd.Prefix",
	"Config.Reserved", "Config.Hosts",
)

func (e apiserverError) Error() string { return apiserverFields.Replace(e.err.Error()) }

func (e apiserverError) Unwrap() error { return e.err }
