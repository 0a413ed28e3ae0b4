package etcd

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	"go.uber.org/zap"

	"github.com/kubembed/kubembed/internal/etcd/memberaddr"
	"github.com/kubembed/kubembed/internal/fieldpath"
)

// peerTimeout bounds a question to another member.
const peerTimeout = 2 * time.Second

// maxMembers bounds what a member may say who is in the cluster.
const maxMembers = 1 << 20

// peers asks other members who they are, over their PeerAddr, which they serve before
// there is a leader.
type peers struct {
	http *http.Client
}

func newPeers(c *Cluster) (*peers, error) {
	transport, err := transport.NewTransport(c.tlsInfo(), peerTimeout)
	if err != nil {
		return nil, fieldpath.New("etcd", "Config.Cluster", "%w", err)
	}
	transport.Proxy = nil // see direct.go
	return &peers{http: &http.Client{Transport: transport, Timeout: peerTimeout}}, nil
}

func (p *peers) close() { p.http.CloseIdleConnections() }

// answer is what one member says.
type answer struct {
	address string
	cluster types.ID
	members []*membership.Member
	err     error
}

// ask asks all addresses at once.
func (p *peers) ask(ctx context.Context, addresses []string) []answer {
	answers := make([]answer, len(addresses))
	var all sync.WaitGroup
	for i, address := range addresses {
		all.Go(func() { answers[i] = p.askOne(ctx, address) })
	}
	all.Wait()
	return answers
}

func (p *peers) askOne(ctx context.Context, address string) (a answer) {
	a.address = address
	u := memberaddr.PeerURL(address)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String()+"/members", http.NoBody)
	if err != nil {
		a.err = err
		return a
	}
	response, err := p.http.Do(request)
	if err != nil {
		a.err = short(err)
		return a
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxMembers))
	if err == nil && response.StatusCode != http.StatusOK {
		err = errors.New(response.Status)
	}
	if err == nil {
		a.cluster, err = types.IDFromString(response.Header.Get("X-Etcd-Cluster-ID"))
	}
	if err == nil {
		err = json.Unmarshal(body, &a.members)
	}
	if err != nil {
		a.err = fmt.Errorf("this is no member of an etcd cluster: %w", err)
	}
	return a
}

// short takes away the URL, which says the address once more.
func short(err error) error {
	if request := (*url.Error)(nil); errors.As(err, &request) {
		return request.Err
	}
	return err
}

// refused reports whether a certificate, and not the network, is in the way.
func (a answer) refused() bool {
	var certificate *tls.CertificateVerificationError
	return errors.As(a.err, &certificate) || alerted(a.err)
}

// alerted reports whether the other side has ended a TLS connection by an alert, for which
// crypto/tls has no exported type.
func alerted(err error) bool {
	var operation *net.OpError
	return errors.As(err, &operation) && operation.Op == "remote error"
}

// unanswered describes the answers that did not come.
func unanswered(answers []answer) string {
	var texts []string
	for _, a := range answers {
		if a.err != nil {
			texts = append(texts, fmt.Sprintf("%s: %v", a.address, a.err))
		}
	}
	return strings.Join(texts, "; ")
}

// begin looks before the first start of a member of InitialCluster whether the cluster
// has begun already, as another one, or with this member, whose data is then lost.
func (c *Cluster) begin(ctx context.Context, p *peers) error {
	token, err := c.token()
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
	answers := p.ask(ctx, others)
	for _, a := range answers {
		if a.err != nil {
			continue
		}
		own := memberaddr.Find(a.members, c.PeerAddr)
		switch {
		case own != nil && len(own.ClientURLs) > 0:
			return fieldpath.New("etcd", "Config.Cluster", "%w: %s", ErrDataMissing, lostAdvice(a.address, own.Name))
		case a.cluster != expected.ID():
			return fieldpath.New("etcd", "Config.Cluster.InitialCluster", "%w: %s is of cluster %s, and this would begin %s: use the InitialCluster that it was begun with, or AddMember and Join",
				ErrOtherCluster, a.address, a.cluster, expected.ID())
		}
	}
	return c.checkRefused(answers)
}

func lostAdvice(address, name string) string {
	return fmt.Sprintf("%s has a member %q with this PeerAddr, which has been started, and its data is not in this directory: use its directory, or call RemoveMember and AddMember, and Join", address, name)
}

// checkRefused gives up where so many members do not take our certificate, or show
// one of another authority, that the others are too few.
func (c *Cluster) checkRefused(answers []answer) error {
	refused := 0
	for _, a := range answers {
		if a.refused() {
			refused++
		}
	}
	if all := len(answers) + 1; refused == 0 || all-refused > all/2 {
		return nil
	}
	return fieldpath.New("etcd", "Config.Cluster", "the other members have certificates of another authority: give all the same PKI: %s", unanswered(answers))
}

// joinTimeout is how long a member waits to be known to the cluster that it joins: the
// members learn of AddMember one after the other.
const joinTimeout = 10 * time.Second

// join returns the members of the cluster at Join, which knows this one, as etcd wants
// to be told of them.
func (c *Cluster) join(ctx context.Context, p *peers) (types.URLsMap, answer, error) {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	poll := time.NewTicker(200 * time.Millisecond)
	defer poll.Stop()
	var last []answer
	for {
		answers := p.ask(ctx, c.Join)
		// Answers that ctx cuts short are worth less than those before.
		if ctx.Err() == nil || last == nil {
			last = answers
		}
		for _, a := range answers {
			if a.err != nil {
				continue
			}
			own := memberaddr.Find(a.members, c.PeerAddr)
			if own != nil && len(own.ClientURLs) > 0 {
				return nil, answer{}, fieldpath.New("etcd", "Config.Cluster", "%w: %s", ErrDataMissing, lostAdvice(a.address, own.Name))
			}
			if own != nil {
				urls, err := c.urls(a.members)
				return urls, a, err
			}
		}
		if err := c.checkRefused(answers); err != nil {
			return nil, answer{}, err
		}
		select {
		case <-poll.C:
			continue
		case <-ctx.Done():
		}
		i := slices.IndexFunc(last, func(a answer) bool { return a.err == nil })
		if i < 0 {
			return nil, answer{}, fieldpath.New("etcd", "Config.Cluster.Join", "no member answers: %s: %w", unanswered(last), context.Cause(ctx))
		}
		return nil, answer{}, fieldpath.New("etcd", "Config.Cluster.Join", "%w: cluster %s at %s has no member with PeerAddr %s: call AddMember of one of its members first",
			ErrRemoved, last[i].cluster, last[i].address, c.PeerAddr)
	}
}

// urls names members; those that have not been started have no name yet.
func (c *Cluster) urls(members []*membership.Member) (types.URLsMap, error) {
	urls := types.URLsMap{}
	for _, m := range members {
		name := m.Name
		switch u := memberaddr.PeerURL(c.PeerAddr); {
		case slices.Contains(m.PeerURLs, u.String()):
			name = c.Name
		case name == c.Name:
			return nil, fieldpath.New("etcd", "Config.Cluster.Name", "another member of the cluster is called %q: choose another name", name)
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
