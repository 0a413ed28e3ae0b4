package controlplane

import (
	"context"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kubembed/kubembed/internal/checkpoint"
	"github.com/kubembed/kubembed/internal/lifecycle"
	"github.com/kubembed/kubembed/pkg/apiserver"
)

// Where things are stored, below Config.Etcd.Prefix.
const (
	leases      = "leases/"
	events      = "events/"
	definitions = "apiextensions.k8s.io/customresourcedefinitions/"
	apiServices = "apiregistration.k8s.io/apiservices/"
)

// alive are keys that etcd itself lets expire, and servers renew.
var alive = []string{"masterleases/", "peerserverleases/"}

// owners have something created or deleted in their name: whoever does that must
// know that they are gone before what belongs to them goes, or it would come back.
var owners = []string{
	"namespaces/", "services/specs/", "minions/",
	"deployments/", "replicasets/", "statefulsets/", "daemonsets/", "controllers/",
	"jobs/", "cronjobs/", "horizontalpodautoscalers/", "poddisruptionbudgets/",
}

func (c *Checkpoint) under(key string, prefixes ...string) bool {
	rest := strings.TrimPrefix(key, c.server.config.Etcd.Prefix+"/")
	return slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(rest, prefix) })
}

// ignored tells which differences are life and not a change of state.
func (c *Checkpoint) ignored(d checkpoint.Difference) bool {
	switch {
	case c.under(d.Key, alive...):
		return true
	case c.under(d.Key, leases):
		return !d.New && !d.Gone
	case c.under(d.Key, events):
		return !d.New // one that is gone has expired
	}
	return false
}

// steps sorts differences by when they are undone.
func (c *Checkpoint) steps(differences []checkpoint.Difference) [][]checkpoint.Difference {
	var first, then, back, last []checkpoint.Difference
	for _, d := range differences {
		switch {
		case !d.New:
			// When what would change it again is gone.
			back = append(back, d)
		case c.under(d.Key, definitions, apiServices):
			// When their objects are gone, so that watches still tell of those.
			last = append(last, d)
		case c.under(d.Key, owners...):
			first = append(first, d)
		default:
			then = append(then, d)
		}
	}
	return [][]checkpoint.Difference{first, then, back, last}
}

// apis are the custom resources and group versions among differences.
func (c *Checkpoint) apis(differences []checkpoint.Difference) (all apiserver.APIs) {
	for _, d := range differences {
		name := d.Key[strings.LastIndexByte(d.Key, '/')+1:]
		first, group, _ := strings.Cut(name, ".")
		switch {
		case c.under(d.Key, definitions):
			all.Resources = append(all.Resources, schema.GroupResource{Group: group, Resource: first})
		case c.under(d.Key, apiServices):
			all.GroupVersions = append(all.GroupVersions, schema.GroupVersion{Group: group, Version: first})
		}
	}
	return all
}

// unregisterTimeout is how long the API server gets to unregister the versions of
// custom resources whose definitions are gone.
const unregisterTimeout = time.Second

// deleteAPIs deletes definitions, and then the registrations that the API server
// does not delete by itself. When it has deleted those that it has made it will not
// make them again.
func (c *Checkpoint) deleteAPIs(ctx context.Context, step []checkpoint.Difference) error {
	groups := map[string]bool{}
	var defined, own, other []checkpoint.Difference
	for _, d := range step {
		if c.under(d.Key, definitions) {
			defined = append(defined, d)
			groups[c.apis([]checkpoint.Difference{d}).Resources[0].Group] = true
		}
	}
	for _, d := range step {
		switch {
		case !c.under(d.Key, apiServices):
		case groups[c.apis([]checkpoint.Difference{d}).GroupVersions[0].Group]:
			own = append(own, d)
		default:
			other = append(other, d)
		}
	}
	if err := c.step(ctx, append(defined, other...)); err != nil {
		return err
	}
	limit, cancel := context.WithTimeout(ctx, unregisterTimeout)
	defer cancel()
	var err error
	_ = lifecycle.Poll(limit, func() bool {
		own, err = c.still(ctx, own)
		return err != nil || len(own) == 0
	})
	if err != nil {
		return err
	}
	return c.step(ctx, own)
}

// still are the differences whose key is there.
func (c *Checkpoint) still(ctx context.Context, differences []checkpoint.Difference) (there []checkpoint.Difference, err error) {
	for _, d := range differences {
		got, err := c.server.etcd.Client().Get(ctx, d.Key, clientv3.WithCountOnly())
		if err != nil {
			return nil, err
		}
		if got.Count > 0 {
			there = append(there, d)
		}
	}
	return there, nil
}
