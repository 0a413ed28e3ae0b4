package apiserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apimachinery/pkg/util/version"
)

// ErrVersionSkew is that what is stored in etcd is of a Kubernetes version that this
// one does not work with.
var ErrVersionSkew = errors.New("version skew")

// storedVersion is kept in etcd below the prefix, in JSON: the newest release that
// has been started on what is stored.
type storedVersion struct {
	Kubernetes string `json:"kubernetes"`
}

// versionKey is below the prefix. No resource's keys begin like that.
const versionKey = "/kubembed/version"

// versionTimeout bounds claimVersion.
const versionTimeout = 10 * time.Second

// claimVersion refuses to work on what a release has stored that this one cannot
// follow, and writes down that this one has been here. It comes before what upstream
// writes when it is started only to be stopped.
func (s *Server) claimVersion() error {
	ctx, cancel := context.WithTimeout(s.ctx, versionTimeout)
	defer cancel()
	client, key := s.config.Client, s.config.Prefix+versionKey
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
			raise, err := follows(stored.Kubernetes, KubernetesVersion, s.config.Shared)
			if err != nil {
				return fmt.Errorf("apiserver: what is stored below %s in etcd is of Kubernetes %s: %w", s.config.Prefix, stored.Kubernetes, err)
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

// follows tells whether release own may work on what stored has written, and whether
// it is the newer one. Kubernetes does not go back to an older minor version
// (https://kubernetes.io/releases/version-skew-policy). Where there are several
// servers they are one minor version apart at most, so that each can be replaced, and
// restarted meanwhile.
func follows(stored, own string, shared bool) (newer bool, err error) {
	was, err := version.ParseSemantic(stored)
	if err != nil {
		return false, err
	}
	is, err := version.ParseSemantic(own)
	if err != nil {
		return false, err
	}
	minors := int(is.Minor()) - int(was.Minor())
	switch {
	case was.Major() != is.Major():
		return false, fmt.Errorf("%w: this is %s, another major version", ErrVersionSkew, own)
	case shared && minors < -1:
		return false, fmt.Errorf("%w: this is %s, and servers that share an etcd are one minor version apart at most: use v%d.%d or newer", ErrVersionSkew, own, was.Major(), was.Minor()-1)
	case shared && minors > 1:
		return false, fmt.Errorf("%w: this is %s, and servers that share an etcd are one minor version apart at most: bring all of them to v%d.%d before", ErrVersionSkew, own, was.Major(), was.Minor()+1)
	case !shared && minors < 0:
		return false, fmt.Errorf("%w: this is %s, and Kubernetes does not go back: use v%d.%d or newer", ErrVersionSkew, own, was.Major(), was.Minor())
	}
	return was.LessThan(is), nil
}
