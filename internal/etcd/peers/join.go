// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	"go.uber.org/zap"

	"github.com/kubembed/kubembed/internal/etcd/clusterconfig"
	"github.com/kubembed/kubembed/internal/etcd/errdefs"
	"github.com/kubembed/kubembed/internal/etcd/memberaddr"
	"github.com/kubembed/kubembed/internal/fieldpath"
)

// CheckNew checks before the first start of a member of InitialCluster that no other
// cluster runs at the addresses, and that the cluster does not already have this member,
// whose data would be lost.
func (p *Client) CheckNew(ctx context.Context, c *clusterconfig.Cluster) error {
	token, err := c.Token()
	if err != nil {
		return err
	}
	first := types.URLsMap{}
	var others []string
	for name, address := range c.InitialCluster {
		first[name] = types.URLs{memberaddr.PeerURL(address)}
		if address != c.PeerAddr {
			others = append(others, address)
		}
	}
	expected, err := membership.NewClusterFromURLsMap(zap.NewNop(), token, first)
	if err != nil {
		return fieldpath.New("etcd", "Config.Cluster.InitialCluster", "%w", err)
	}
	slices.Sort(others)
	answers := p.Ask(ctx, others)
	for _, a := range answers {
		if a.Err != nil {
			continue
		}
		own := memberaddr.Find(a.Members, c.PeerAddr)
		switch {
		case own != nil && len(own.ClientURLs) > 0:
			return fieldpath.New("etcd", "Config.Cluster", "%w: %s", errdefs.ErrDataMissing, lostAdvice(a.Address, own.Name))
		case a.Cluster != expected.ID():
			return fieldpath.New("etcd", "Config.Cluster.InitialCluster", "%w: %s belongs to cluster %s, and this start would create %s: use the InitialCluster that it was created with, or AddMember and Join",
				errdefs.ErrOtherCluster, a.Address, a.Cluster, expected.ID())
		}
	}
	return named(checkRefused(answers))
}

// named adds the package to an error, for callers that do not.
func named(err error) error {
	if err == nil {
		return nil
	}
	return fieldpath.New("etcd", "", "%w", err)
}

func lostAdvice(address, name string) string {
	return fmt.Sprintf("%s has a member %q with this PeerAddr, which has run before, and its data is not in this directory: use its directory, or call RemoveMember and AddMember, and set Join", address, name)
}

// checkRefused returns an error if so many members refuse this member's certificate, or
// present one of another CA, that the rest is no majority.
func checkRefused(answers []Answer) error {
	refused := 0
	for _, a := range answers {
		if a.refused() {
			refused++
		}
	}
	if all := len(answers) + 1; refused == 0 || all-refused > all/2 {
		return nil
	}
	return fieldpath.New("", "Config.Cluster", "the other members have certificates of another CA: give all members the same PKI: %s", Unanswered(answers))
}

// joinTimeout is how long a member waits until the cluster that it joins knows it:
// AddMember reaches the members one after the other.
const joinTimeout = 10 * time.Second

// Join returns the members of the cluster at c.Join, in etcd's form, once the cluster
// knows this one.
func (p *Client) Join(ctx context.Context, c *clusterconfig.Cluster) (types.URLsMap, Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	poll := time.NewTicker(200 * time.Millisecond)
	defer poll.Stop()
	var latest []Answer
	for {
		answers := p.Ask(ctx, c.Join)
		// Answers that ctx interrupts say less than earlier ones.
		if ctx.Err() == nil || latest == nil {
			latest = answers
		}
		for _, a := range answers {
			if a.Err != nil {
				continue
			}
			own := memberaddr.Find(a.Members, c.PeerAddr)
			if own != nil && len(own.ClientURLs) > 0 {
				return nil, Answer{}, fieldpath.New("etcd", "Config.Cluster", "%w: %s", errdefs.ErrDataMissing, lostAdvice(a.Address, own.Name))
			}
			if own != nil {
				urls, err := memberURLs(c, a.Members)
				return urls, a, err
			}
		}
		if err := checkRefused(answers); err != nil {
			return nil, Answer{}, named(err)
		}
		select {
		case <-poll.C:
			continue
		case <-ctx.Done():
		}
		i := slices.IndexFunc(latest, func(a Answer) bool { return a.Err == nil })
		if i < 0 {
			return nil, Answer{}, fieldpath.New("etcd", "Config.Cluster.Join", "no member answers: %s: %w", Unanswered(latest), context.Cause(ctx))
		}
		return nil, Answer{}, fieldpath.New("etcd", "Config.Cluster.Join", "%w: cluster %s at %s has no member with PeerAddr %s: call AddMember of one of its members first",
			errdefs.ErrRemoved, latest[i].Cluster, latest[i].Address, c.PeerAddr)
	}
}

// memberURLs maps the names of members to their URLs. Members that have never started
// have no name yet and get their ID.
func memberURLs(c *clusterconfig.Cluster, members []*membership.Member) (types.URLsMap, error) {
	urls := types.URLsMap{}
	for _, m := range members {
		name := m.Name
		switch u := memberaddr.PeerURL(c.PeerAddr); {
		case slices.Contains(m.PeerURLs, u.String()):
			name = c.Name
		case name == c.Name:
			return nil, fieldpath.New("etcd", "Config.Cluster.Name", "another member of the cluster has the name %q: choose another name", name)
		case name == "":
			name = m.ID.String()
		}
		peer, err := types.NewURLs(m.PeerURLs)
		if err != nil {
			return nil, fieldpath.New("etcd", "Config.Cluster.Join", "member %s: %w", name, err)
		}
		urls[name] = peer
	}
	return urls, nil
}
