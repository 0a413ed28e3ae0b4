// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package peers talks to the other members of a cluster: it asks them who they are before
// there is a leader, serves them, and waits until the cluster has a leader.
package peers

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"

	"github.com/kubembed/kubembed/internal/etcd/clusterconfig"
	"github.com/kubembed/kubembed/internal/etcd/failover"
	"github.com/kubembed/kubembed/internal/etcd/memberaddr"
	"github.com/kubembed/kubembed/internal/fieldpath"
)

// Timeout bounds a request to another member.
const Timeout = 2 * time.Second

// maxMembers bounds the size of a member list.
const maxMembers = 1 << 20

// Client asks other members for the members of their cluster. It uses their PeerAddr,
// which they serve before there is a leader.
type Client struct {
	http *http.Client
}

// Transport returns the HTTP transport of the client.
func (p *Client) Transport() http.RoundTripper { return p.http.Transport }

// New returns a client with the certificates of c.
func New(c *clusterconfig.Cluster) (*Client, error) {
	transport, err := transport.NewTransport(c.TLSInfo(), Timeout)
	if err != nil {
		return nil, fieldpath.New("etcd", "Config.Cluster", "%w", err)
	}
	transport.Proxy = nil // see noproxy.go
	return &Client{http: &http.Client{Transport: transport, Timeout: Timeout}}, nil
}

// Close closes the idle connections.
func (p *Client) Close() { p.http.CloseIdleConnections() }

// Answer is the answer of one member.
type Answer struct {
	Address string
	Cluster types.ID
	Members []*membership.Member
	Err     error
}

// Ask asks all addresses concurrently.
func (p *Client) Ask(ctx context.Context, addresses []string) []Answer {
	answers := make([]Answer, len(addresses))
	var all sync.WaitGroup
	for i, address := range addresses {
		all.Go(func() { answers[i] = p.AskOne(ctx, address) })
	}
	all.Wait()
	return answers
}

// AskOne asks one address.
func (p *Client) AskOne(ctx context.Context, address string) (a Answer) {
	a.Address = address
	u := memberaddr.PeerURL(address)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String()+"/members", http.NoBody)
	if err != nil {
		a.Err = err
		return a
	}
	response, err := p.http.Do(request)
	if err != nil {
		a.Err = short(err)
		return a
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxMembers))
	if err == nil && response.StatusCode != http.StatusOK {
		err = errors.New(response.Status)
	}
	if err == nil {
		a.Cluster, err = types.IDFromString(response.Header.Get("X-Etcd-Cluster-ID"))
	}
	if err == nil {
		err = json.Unmarshal(body, &a.Members)
	}
	if err != nil {
		a.Err = fmt.Errorf("not a member of an etcd cluster: %w", err)
	}
	return a
}

// short removes the URL, which repeats the address.
func short(err error) error {
	if request := (*url.Error)(nil); errors.As(err, &request) {
		return request.Err
	}
	return err
}

// refused reports whether a certificate, and not the network, is the reason.
func (a Answer) refused() bool {
	var certificate *tls.CertificateVerificationError
	return errors.As(a.Err, &certificate) || failover.IsTLSAlert(a.Err)
}

// Unanswered describes the missing answers.
func Unanswered(answers []Answer) string {
	var texts []string
	for _, a := range answers {
		if a.Err != nil {
			texts = append(texts, fmt.Sprintf("%s: %v", a.Address, a.Err))
		}
	}
	return strings.Join(texts, "; ")
}
