package apiserver

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/internal/versionskew"
)

// ErrVersionSkew is that what is stored in etcd is of a Kubernetes version that this
// one does not work with.
var ErrVersionSkew = versionskew.Err

// storedVersion is kept in etcd below the prefix, in JSON: the newest release that
// has been started on what is stored.
type storedVersion struct {
	Kubernetes string `json:"kubernetes"`
}

// versionTimeout bounds claimVersion.
const versionTimeout = 10 * time.Second

// claimVersion refuses to work on what a release has stored that this one cannot
// follow, and writes down that this one has been here. It comes before what upstream
// writes when it is started only to be stopped.
func (s *Server) claimVersion() error {
	ctx, cancel := context.WithTimeout(s.ctx, versionTimeout)
	defer cancel()
	client, key := s.config.Client, s.backend.Keyspace().Version()
	own, err := json.Marshal(storedVersion{KubernetesVersion})
	if err != nil {
		return fmt.Errorf("apiserver: version: %w", err)
	}
	for {
		got, err := client.Get(ctx, key)
		if err != nil {
			return fmt.Errorf("apiserver: version of what is stored: %w", err)
		}
		unchanged := clientv3.Compare(clientv3.ModRevision(key), "=", 0)
		if len(got.Kvs) > 0 {
			var stored storedVersion
			if err := json.Unmarshal(got.Kvs[0].Value, &stored); err != nil {
				return fmt.Errorf("apiserver: %s in etcd is not what it should be: %w", key, err)
			}
			raise, err := versionskew.Follows(stored.Kubernetes, KubernetesVersion, s.config.Shared)
			if err != nil {
				return fieldpath.New("apiserver", "Config.Prefix", "what is stored below %s in etcd is of Kubernetes %s: %w", s.config.Prefix, stored.Kubernetes, err)
			}
			if !raise {
				return nil
			}
			unchanged = clientv3.Compare(clientv3.ModRevision(key), "=", got.Kvs[0].ModRevision)
		}
		put, err := client.Txn(ctx).If(unchanged).Then(clientv3.OpPut(key, string(own))).Commit()
		if err != nil {
			return fmt.Errorf("apiserver: version of what is stored: %w", err)
		}
		if put.Succeeded {
			return nil
		}
		// Another server was faster: see what it is.
	}
}
